//! Text as HTML. Everything that goes into the page comes through here, or was written here.

/// Text between tags, or in a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// A doc comment's words: what is in backticks is code.
pub(super) fn words(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            html.push_str(&code(part));
        } else {
            html.push_str(&escaped(part));
        }
    }
    html
}

/// A doc comment: paragraphs are set apart by an empty line.
pub(super) fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p>{}</p>\n", words(part))).collect()
}

/// A word of code.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// A table, if it has rows. Cells are HTML.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |tag: &str, cells: &[String; N]| -> String {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = row("th", &head.map(str::to_owned));
    let body: String = rows.iter().map(|cells| row("td", cells)).collect();
    // A phone scrolls the table, not the page.
    format!("<div class=\"wide\"><table>\n<thead>{head}</thead>\n<tbody>\n{body}</tbody></table></div>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_tag() {
        assert_eq!(escaped("<b a='x'>\"&\"</b>"), "&lt;b a=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/b&gt;");
        assert_eq!(words("see `a<b>` & c"), "see <code>a&lt;b&gt;</code> &amp; c");
        assert_eq!(paragraphs("one\ntwo\n\n\n\nthree"), "<p>one\ntwo</p>\n<p>three</p>\n");
        assert_eq!(table(["a"], &[]), "");
    }
}
