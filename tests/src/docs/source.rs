//! Doc comments of source files: the one place where the meaning of a field is written.
//!
//! No parser: the project's own files, formatted by rustfmt, have one field or variant a line.

use std::collections::BTreeMap;

/// An item of a source file: a line of code and the doc comment above it, joined to one line.
struct Item<'a> {
    code: &'a str,
    doc: String,
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) doc: String,
}

/// The public structures of a source file, by name, with their public fields in order.
pub(super) fn structures(source: &str) -> BTreeMap<String, Vec<Field>> {
    let mut found = BTreeMap::new();
    let mut open: Option<String> = None;
    for Item { code, doc } in items(source) {
        if let Some(name) = code.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            found.insert(name.to_owned(), Vec::new());
            open = Some(name.to_owned());
        } else if code == "}" {
            open = None;
        } else if let Some(fields) = open.as_ref().and_then(|name| found.get_mut(name))
            && let Some((name, kind)) = code.strip_prefix("pub ").and_then(|rest| rest.split_once(": "))
        {
            fields.push(Field { name: name.into(), kind: kind.trim_end_matches(',').into(), doc });
        }
    }
    found
}

/// The doc comment of each variant, be it a line of a table (`Name = …;`) or of an enumeration without data (`Name,`).
pub(super) fn variants(source: &str) -> BTreeMap<String, String> {
    let name = |code: &str| {
        let name = code.split_once(" = ").map(|(name, _)| name).or_else(|| code.strip_suffix(','))?;
        name.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| name.to_owned())
    };
    let documented = items(source).into_iter().filter(|item| !item.doc.is_empty());
    documented.filter_map(|item| Some((name(item.code)?, item.doc))).collect()
}

/// Every line of code up to the tests, attributes left out.
fn items(source: &str) -> Vec<Item<'_>> {
    let mut found = Vec::new();
    let mut doc = String::new();
    for line in source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            if !doc.is_empty() {
                doc.push(' ');
            }
            doc.push_str(text.trim());
        } else if !line.is_empty() && !line.starts_with("#[") && !line.starts_with("//") {
            found.push(Item { code: line, doc: std::mem::take(&mut doc) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_with_their_comments() {
        let source = "/// All.\n#[derive(Clone)]\npub struct A {\n    /// One\n    /// line.\n    #[serde(default)]\n    pub b: Vec<u8>,\n    hidden: u8,\n}\nfn f(pub_c: u8) {}\n#[cfg(test)]\npub struct T {\n}";
        let found = structures(source);
        let b = Field { name: "b".into(), kind: "Vec<u8>".into(), doc: "One line.".into() };
        assert_eq!(found, BTreeMap::from([("A".into(), vec![b])]));
    }

    #[test]
    fn variants_come_with_their_comments() {
        let found = variants("codes! {\n    /// It is bad.\n    Bad = 1, \"bad\", \"Mend it.\";\n}\nlet x = 1;");
        assert_eq!(found, BTreeMap::from([("Bad".into(), "It is bad.".into())]));
        let found = variants("enum E {\n    /// It is\n    /// worse.\n    Worse,\n}\n/// No.\nfn f(a: u8) {}");
        assert_eq!(found, BTreeMap::from([("Worse".into(), "It is worse.".into())]));
    }
}
