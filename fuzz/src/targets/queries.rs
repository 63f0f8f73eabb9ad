//! What people and dashboards ask over HTTP.

use super::{Target, choose};
use crate::memory;
use dsmil_aggregator::prometheus::judge;
use dsmil_aggregator::prometheus::moment::{parse_duration, parse_time};
use dsmil_aggregator::prometheus::selector::{MAX_MATCHERS, MAX_SELECTOR_LEN, Selector};

pub(super) const TARGET: Target = Target {
    name: "queries",
    what: "selectors, times, durations and parameters of the query API",
    run,
    seeds,
    dictionary: &[
        b"{",
        b"}",
        b"[5m]",
        b"=~",
        b"!~",
        b"!=",
        b"\\x41",
        b"\\u00e9",
        b"\\U0001f600",
        b"\\101",
        b"__name__",
        b"#",
        b"`",
        b"query=",
        b"match[]=",
        b"start=",
        b"end=",
        b"step=",
        b"time=",
        b"timeout=",
        b"limit=",
        b"&",
        b"%5B",
        b"1h30m",
        b"2026-01-02T03:04:05Z",
        b"1e300",
        b"NaN",
        b"(?i)",
        b"(?:x{1000}){1000}",
        b".*",
        b"\\p{L}",
    ],
    max_len: 1024,
};

/// Bytes that a compiled regular expression and what makes it may take, whatever it says: its own limits are 1 MiB for
/// the program, and what is parsed and built on the way is a few times as much.
const REGEX: usize = 24 << 20;

/// The first byte says what the rest is.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 4);
    let text = String::from_utf8_lossy(rest);
    match choice {
        0 => selector(&text),
        1 => {
            // Sums of a few stay inside an i64.
            let far = |ms: i64| ms.abs() >= i64::MAX / 64;
            assert!(!parse_time(&text).is_ok_and(far) && !parse_duration(&text).is_ok_and(far), "{text:?}");
        }
        2 => drop(memory::within(REGEX, || judge(rest, b""))),
        _ => drop(memory::within(REGEX, || judge(b"", rest))),
    }
}

fn selector(text: &str) {
    let Ok(selector) = memory::within(64 * text.len() + 4096, || text.parse::<Selector>()) else { return };
    assert!(text.len() <= MAX_SELECTOR_LEN && selector.matchers.len() <= MAX_MATCHERS);
    assert!(selector.range_ms.is_none_or(|ms| ms > 0));
    let printed = selector.to_string();
    // Escapes are longer than what they stand for; only then may the printed form be too long.
    match printed.parse::<Selector>() {
        Ok(again) => assert_eq!(again, selector, "it reads what it prints: {printed}"),
        Err(error) => assert!(printed.len() > MAX_SELECTOR_LEN, "{printed}: {error}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let selectors = [
        "up { a = \"1\", b!='2' ,c=~`x\\d`,d!~\"\\\"\\n\\u00e9\\x41\\101\", } [ 1h30m ] # why",
        "node_load1",
        "{__name__=~\"node_.*\"}",
        "rate(up[5m])",
    ];
    let moments = ["1700000000.5", "2023-11-14T23:13:20.5+01:00", "1h30m", "500ms", "-1.5"];
    let queries = [
        "query=node_load1%7Bhost%3D%22h1%22%7D&time=1700000000&timeout=5s&limit=10",
        "query=up&start=1700000000&end=1700000600&step=15",
        "match[]=up&match%5B%5D={host=~\"h.*\"}&start=2023-11-14T22:13:20Z",
    ];
    let of =
        |kind: u8, texts: &[&str]| texts.iter().map(|text| [&[kind], text.as_bytes()].concat()).collect::<Vec<_>>();
    [of(0, &selectors), of(1, &moments), of(2, &queries), of(3, &queries)].concat()
}
