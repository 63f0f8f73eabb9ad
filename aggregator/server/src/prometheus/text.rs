//! Prometheus's text format, version 0.0.4.

use super::number::push_value;
use dsmil_protocol::metric::Kind;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text being written, family by family.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
        }
    }
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: Type, help: Option<&str>) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        if let Some(help) = help {
            self.0.push_str("# HELP ");
            self.0.push_str(name);
            self.0.push(' ');
            push_escaped(&mut self.0, help, false);
            self.0.push('\n');
        }
        self.0.extend(["# TYPE ", name, " ", kind, "\n"]);
    }

    /// Adds a sample.
    pub(crate) fn sample<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) {
        self.0.push_str(name);
        let mut open = false;
        for (label, text) in labels {
            self.0.push(if open { ',' } else { '{' });
            open = true;
            self.0.extend([label, "=\""]);
            push_escaped(&mut self.0, text, true);
            self.0.push('"');
        }
        self.0.push_str(if open { "} " } else { " " });
        push_value(&mut self.0, value);
        self.0.push('\n');
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Type, help: &str, value: f64) {
        self.family(name, kind, Some(help));
        self.sample(name, [], value);
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_the_format_says() {
        let mut text = Exposition::default();
        text.family("a_total", Type::Counter, Some("What\nit \\ is."));
        text.sample("a_total", [("x", "1"), ("y", "a\"b\\c\nd")], 3.0);
        text.single("b", Type::Gauge, "B.", f64::INFINITY);
        text.family("c", Type::Gauge, None);
        assert_eq!(
            text.finish(),
            "# HELP a_total What\\nit \\\\ is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 3\n\
             # HELP b B.\n# TYPE b gauge\nb +Inf\n# TYPE c gauge\n"
        );
    }
}
