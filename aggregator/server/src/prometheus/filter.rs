//! A selector made ready to be tried on series: its conditions compiled, those on the host apart.
//!
//! Every series has the label `host`, which is ours: it says whose series it is. A metric's own label of that name is
//! shown as `exported_host`, as Prometheus does when a target's label collides with its own.

use super::selector::{Comparison, Matcher, Selector};
use dsmil_protocol::metric::Metric;
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Bytes of a compiled regular expression: enough for an alternation of some hundred hosts, too little to fill memory.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Bytes of a regular expression's cache of states, for each thread that uses it.
const MAX_REGEX_CACHE_BYTES: usize = 256 << 10;

/// The label that says whose series it is.
pub(super) const HOST: &str = "host";
const NAME: &str = "__name__";

/// Why a selector cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("parse error: error parsing regexp {pattern:?}: {why}")]
    Regex { pattern: String, why: String },
    #[error("parse error: vector selector must contain at least one non-empty matcher")]
    MatchesAll,
}

/// The conditions of a selector.
#[derive(Debug)]
pub(super) struct Filter {
    host: Vec<Condition>,
    name: Vec<Condition>,
    labels: Vec<(String, Condition)>,
}

#[derive(Debug)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    MatchesNot(Regex),
}

impl Condition {
    fn new(matcher: &Matcher) -> Result<Self, FilterError> {
        let value = matcher.value.clone();
        Ok(match matcher.comparison {
            Comparison::Equal => Self::Equal(value),
            Comparison::NotEqual => Self::NotEqual(value),
            Comparison::Matches => Self::Matches(anchored(&value)?),
            Comparison::MatchesNot => Self::MatchesNot(anchored(&value)?),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => wanted == value,
            Self::NotEqual(unwanted) => unwanted != value,
            Self::Matches(regex) => regex.is_match(value),
            Self::MatchesNot(regex) => !regex.is_match(value),
        }
    }
}

/// Prometheus anchors regular expressions at both ends, and lets the dot match line breaks.
fn anchored(pattern: &str) -> Result<Regex, FilterError> {
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_CACHE_BYTES).build().map_err(
            |error| {
                let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                FilterError::Regex { pattern: pattern.chars().take(64).collect(), why }
            },
        )
    };
    // On its own first: in the group, `a)(b` would be valid.
    compile(pattern)?;
    compile(&format!("^(?s:{pattern})$"))
}

impl Filter {
    /// Compiles a selector's conditions.
    pub(super) fn new(selector: &Selector) -> Result<Self, FilterError> {
        let mut filter = Self { host: Vec::new(), name: Vec::new(), labels: Vec::new() };
        let name = selector.name.as_ref();
        filter.name.extend(name.map(|name| Condition::Equal(name.clone())));
        let mut narrows = name.is_some();
        for matcher in &selector.matchers {
            let condition = Condition::new(matcher)?;
            narrows |= !condition.holds("");
            match matcher.label.as_str() {
                HOST => filter.host.push(condition),
                NAME => filter.name.push(condition),
                _ => filter.labels.push((matcher.label.clone(), condition)),
            }
        }
        if narrows { Ok(filter) } else { Err(FilterError::MatchesAll) }
    }

    /// Whether series of this host are asked for.
    pub(super) fn takes_host(&self, host: &str) -> bool {
        self.host.iter().all(|condition| condition.holds(host))
    }

    /// Whether this metric (of a host that is asked for) is asked for.
    pub(super) fn takes(&self, metric: &Metric) -> bool {
        self.name.iter().all(|condition| condition.holds(&metric.name))
            && self.labels.iter().all(|(label, condition)| condition.holds(label_value(metric, label)))
    }
}

/// The value of a metric's label as it is shown; empty if there is none.
fn label_value<'a>(metric: &'a Metric, shown: &str) -> &'a str {
    metric.labels.iter().find(|(own, _)| shown_label(metric, own) == shown).map_or("", |(_, value)| value)
}

/// The name under which a metric's own label is shown.
fn shown_label<'a>(metric: &Metric, own: &'a str) -> Cow<'a, str> {
    if own != HOST {
        return Cow::Borrowed(own);
    }
    let mut shown = format!("exported_{own}");
    while metric.labels.iter().any(|(other, _)| *other == shown) {
        shown.insert_str(0, "exported_");
    }
    Cow::Owned(shown)
}

/// All labels of a host's metric as they are shown, its name and the host among them, by label.
pub(super) fn shown_labels<'a>(host: &'a str, metric: &'a Metric) -> Vec<(Cow<'a, str>, &'a str)> {
    let own = metric.labels.iter().map(|(label, value)| (shown_label(metric, label), value.as_str()));
    let ours = [(Cow::Borrowed(NAME), metric.name.as_str()), (Cow::Borrowed(HOST), host)];
    // To Prometheus an empty label is none.
    let mut labels: Vec<_> = own.chain(ours).filter(|(_, value)| !value.is_empty()).collect();
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::{Kind, Repr, Scale};

    fn metric(name: &str, labels: &[(&str, &str)]) -> Metric {
        Metric {
            name: name.into(),
            labels: labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            kind: Kind::Gauge,
            repr: Repr::U64,
            scale: Scale::ONE,
        }
    }

    fn filter(text: &str) -> Filter {
        Filter::new(&text.parse().expect("a selector")).expect("a filter")
    }

    #[test]
    fn conditions_mean_what_prometheus_means() {
        let cpu = metric("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")]);
        let takes = |text: &str| filter(text).takes(&cpu);
        assert!(takes("node_cpu_seconds_total"));
        assert!(takes("node_cpu_seconds_total{cpu=\"0\",mode!=\"idle\"}"));
        assert!(takes("{__name__=~\"node_cpu.*\",mode=~\"us.r|idle\"}"));
        assert!(takes("node_cpu_seconds_total{device=\"\"}"), "a label that is not there is empty");
        assert!(takes("node_cpu_seconds_total{mode!~\"(?i)IDLE\"}"));
        assert!(!takes("{__name__=~\"cpu\"}"), "anchored at both ends");
        assert!(!takes("node_cpu_seconds_total{mode=~\"use\"}"));
        assert!(!takes("node_cpu_seconds_total{device!=\"\"}"));
        assert!(filter("x{host=~\"h[12]\"}").takes_host("h1") && !filter("x{host=~\"h[12]\"}").takes_host("h3"));
    }

    #[test]
    fn a_selector_that_narrows_nothing_is_refused() {
        for text in ["{}", "{a=\"\"}", "{a=~\".*\",b!=\"x\"}"] {
            assert!(matches!(Filter::new(&text.parse().expect("a selector")), Err(FilterError::MatchesAll)), "{text}");
        }
        filter("{a=~\".+\"}");
    }

    #[test]
    fn a_regular_expression_that_is_wrong_or_huge_is_refused() {
        for pattern in ["(", "a)(b", "(?:x{1000}){1000}", "\\\\q"] {
            let selector = format!("up{{a=~\"{pattern}\"}}").parse().expect("a selector");
            assert!(matches!(Filter::new(&selector), Err(FilterError::Regex { .. })), "{pattern}");
        }
    }

    #[test]
    fn a_label_called_host_makes_room_for_ours() {
        let odd = metric("m", &[("host", "theirs"), ("empty", ""), ("exported_host", "older")]);
        let shown: Vec<(String, &str)> =
            shown_labels("h1", &odd).into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
        let expected =
            [("__name__", "m"), ("exported_exported_host", "theirs"), ("exported_host", "older"), ("host", "h1")];
        assert_eq!(shown, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(filter("m{exported_exported_host=\"theirs\"}").takes(&odd));
    }
}
