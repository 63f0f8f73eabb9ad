//! What Prometheus takes for a name.

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub(super) fn is_metric_name(text: &str) -> bool {
    is_name(text, |b| b == b':')
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub(super) fn is_label_name(text: &str) -> bool {
    is_name(text, |_| false)
}

fn is_name(text: &str, also: impl Fn(u8) -> bool) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || also(b);
    text.bytes().all(inner) && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}
