//! What was measured, as rows: figure by figure, ours first, then each peer, then how ours is to them.

use super::super::{Better, Row, Target};
use super::footprint::{Footprint, Used};
use super::outage::Verdict;
use super::side::OURS;

/// All that is known of one side.
#[derive(Debug)]
pub(super) struct Measured {
    /// The programs on the host.
    pub(super) name: &'static str,
    /// What they are exactly.
    pub(super) versions: Option<String>,
    pub(super) footprint: Option<Footprint>,
    pub(super) verdict: Option<Verdict>,
    pub(super) said: Said,
    /// Why something is absent.
    pub(super) why: Option<String>,
}

/// What ours says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Of what it sent.
    pub(super) wire: Option<String>,
    /// Of ticks that were never sampled.
    pub(super) gaps: Option<String>,
}

impl Measured {
    fn is_ours(&self) -> bool {
        self.name == OURS
    }
}

/// Bytes a sample on disk.
#[derive(Debug)]
pub(super) struct AtRest {
    pub(super) ours: f64,
    pub(super) victoria: anyhow::Result<f64>,
    pub(super) prometheus: anyhow::Result<f64>,
}

/// A figure of a footprint.
struct Figure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Footprint) -> Option<f64>,
    /// Whether it is the sum of what the programs of a side take each.
    is_sum: bool,
    ratio: Ratio,
}

/// What is made of ours in proportion to a peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ratio {
    /// Nothing: the peers take other numbers of samples.
    None,
    /// A row. CPU time goes up and down by a tenth, too much for the baseline.
    Told,
    /// A row that is kept in the baseline.
    Kept,
}

/// What the network carries.
const WIRE: &str = "wire";

const FIGURES: [Figure; 4] = [
    Figure { name: "memory", unit: "MiB PSS", of: |all| Some(mib(all.memory())), is_sum: true, ratio: Ratio::Kept },
    Figure { name: "CPU", unit: "% of a core", of: |all| Some(100.0 * all.cpu()), is_sum: true, ratio: Ratio::None },
    Figure {
        name: "CPU a sample",
        unit: "µs/sample",
        of: |all| a_sample(all, 1e6 * all.cpu()),
        is_sum: false,
        ratio: Ratio::Told,
    },
    Figure { name: WIRE, unit: "B/sample", of: |all| a_sample(all, all.out?), is_sum: false, ratio: Ratio::Told },
];

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// So much a second as so much a sample.
fn a_sample(footprint: &Footprint, a_second: f64) -> Option<f64> {
    (footprint.samples > 0.0).then(|| a_second / footprint.samples)
}

/// The rows. `no_wire`: why nobody's network was counted.
pub(super) fn rows(measured: &[Measured], at_rest: &AtRest, no_wire: Option<&str>) -> Vec<Row> {
    let mut rows: Vec<_> = measured.iter().map(samples).collect();
    for figure in &FIGURES {
        rows.extend(measured.iter().map(|side| told(figure, side, no_wire)));
        rows.extend(measured.iter().filter_map(|side| probes(figure, side)));
        rows.extend(ratios(figure, measured));
    }
    rows.extend(measured.iter().filter_map(scraped));
    rows.extend(resting(at_rest));
    rows.extend(measured.iter().map(lost));
    rows.extend(measured.iter().map(doubled));
    rows
}

/// What went wrong.
fn why(side: &Measured) -> &str {
    side.why.as_deref().unwrap_or("it did not get so far")
}

fn samples(side: &Measured) -> Row {
    let name = format!("peers, samples: {}", side.name);
    let row = match &side.footprint {
        Some(footprint) => Row::told(name, footprint.samples, "samples/s"),
        None => return Row::absent(name, "samples/s", why(side)),
    };
    side.versions.iter().fold(row, |row, versions| row.note(versions.as_str()))
}

fn told(figure: &Figure, side: &Measured, no_wire: Option<&str>) -> Row {
    let name = format!("peers, {}: {}", figure.name, side.name);
    let Some(footprint) = &side.footprint else { return Row::absent(name, figure.unit, why(side)) };
    let Some(value) = (figure.of)(footprint) else {
        return Row::absent(name, figure.unit, no_wire.unwrap_or("it sent nothing"));
    };
    let row = Row::told(name, value, figure.unit);
    match &side.said.wire {
        Some(said) if figure.name == WIRE => row.note(said.as_str()),
        _ if figure.is_sum && footprint.programs.len() > 1 => row.note(parts(figure, footprint)),
        _ => row,
    }
}

/// What ours has beside its agent.
fn probes(figure: &Figure, side: &Measured) -> Option<Row> {
    let footprint = side.footprint.as_ref().filter(|all| figure.is_sum && !all.beside.is_empty())?;
    let alone = Footprint { programs: footprint.beside.clone(), ..footprint.clone() };
    let row = Row::told(format!("peers, {}: our probes", figure.name), (figure.of)(&alone)?, figure.unit);
    Some(row.note(parts(figure, &alone)))
}

/// What each of several programs takes by itself.
fn parts(figure: &Figure, footprint: &Footprint) -> String {
    let part = |program: &Used| {
        let alone = Footprint { programs: vec![program.clone()], ..footprint.clone() };
        Some(format!("{} {:.2}", program.name, (figure.of)(&alone)?))
    };
    footprint.programs.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// How much ours is of what each peer is.
fn ratios(figure: &Figure, measured: &[Measured]) -> Vec<Row> {
    let value = |side: &Measured| (figure.of)(side.footprint.as_ref()?);
    let (Some((ours, peers)), false) = (measured.split_first(), figure.ratio == Ratio::None) else { return Vec::new() };
    let ratio = |peer: &Measured| Some(to_peer(figure, peer.name, value(ours)? / value(peer)?));
    let exporter = || {
        // An exporter alone sends nothing, but it is what many hosts have.
        let footprint = peers.iter().find_map(|peer| peer.footprint.as_ref().filter(|all| all.programs.len() > 1))?;
        let alone = Footprint { programs: footprint.programs[..1].to_vec(), ..footprint.clone() };
        let name = format!("{} alone", alone.programs[0].name);
        Some(to_peer(figure, &name, value(ours)? / (figure.of)(&alone)?))
    };
    let exporter = if figure.is_sum { exporter() } else { None };
    exporter.into_iter().chain(peers.iter().filter_map(ratio)).collect()
}

fn to_peer(figure: &Figure, peer: &str, ratio: f64) -> Row {
    let row = Row::told(format!("peers, {}: ours to {peer}", figure.name), ratio, "×");
    if figure.ratio == Ratio::Kept { row.kept(Better::Less) } else { row }
}

/// What goes from exporter to agent, where there is an exporter.
fn scraped(side: &Measured) -> Option<Row> {
    let footprint = side.footprint.as_ref()?;
    let value = a_sample(footprint, footprint.scraped?)?;
    let row = Row::told(format!("peers, scraped: {}", side.name), value, "B/sample");
    Some(row.note("within the host, besides the wire"))
}

fn resting(at_rest: &AtRest) -> Vec<Row> {
    let ours = Row::told("peers, at rest: ours", at_rest.ours, "B/sample");
    let mut rows = vec![ours.kept(Better::Less).note("the journal: batches, index, ledger, metric sets")];
    let peers = [
        ("VictoriaMetrics", &at_rest.victoria, "data and index after a forced merge, without its caches"),
        ("Prometheus", &at_rest.prometheus, "one block, as promtool makes it"),
    ];
    for (name, value, what) in peers {
        let row = format!("peers, at rest: {name}");
        match value {
            Ok(value) => {
                rows.push(Row::told(row, *value, "B/sample").note(what));
                let ratio = Row::told(format!("peers, at rest: ours to {name}"), at_rest.ours / value, "×");
                rows.push(ratio.kept(Better::Less));
            }
            Err(error) => rows.push(Row::absent(row, "B/sample", format!("{error:#}"))),
        }
    }
    rows
}

fn lost(side: &Measured) -> Row {
    let row = outage("lost", side, |verdict| verdict.lost);
    let Some(verdict) = side.verdict else { return row };
    let judged = format!("of {} while its agent was alive", verdict.judged);
    let between = verdict.between.map(|(first, last)| format!("seconds {first} to {last} of the outage"));
    let parts: Vec<_> = [judged].into_iter().chain(between).chain(side.said.gaps.clone()).collect();
    row.note(parts.join("; "))
}

fn doubled(side: &Measured) -> Row {
    outage("doubled", side, |verdict| verdict.doubled)
}

fn outage(what: &str, side: &Measured, of: fn(&Verdict) -> u64) -> Row {
    let name = format!("peers, outage, ticks {what}: {}", side.name);
    match &side.verdict {
        Some(verdict) if side.is_ours() => Row::aimed(name, of(verdict) as f64, "ticks", Target::AtMost(0.0)),
        Some(verdict) => Row::told(name, of(verdict) as f64, "ticks"),
        None => Row::absent(name, "ticks", why(side)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &'static str, programs: &[(&str, f64)], out: Option<f64>) -> Measured {
        let used = |(name, cpu): &(&str, f64)| Used { name: (*name).to_owned(), memory: 1_048_576.0, cpu: *cpu };
        let programs = programs.iter().map(used).collect();
        let footprint = Some(Footprint { programs, beside: Vec::new(), samples: 100.0, out, scraped: None });
        let verdict = Some(Verdict { judged: 9, lost: 2, doubled: 0, between: Some((3, 4)) });
        Measured { name, versions: None, footprint, verdict, said: Said::default(), why: None }
    }

    fn found<'r>(rows: &'r [Row], name: &str) -> &'r Row {
        rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is not among {rows:#?}"))
    }

    const AT_REST: fn() -> AtRest =
        || AtRest { ours: 0.5, victoria: Ok(0.25), prometheus: Err(anyhow::anyhow!("promtool is not here")) };

    #[test]
    fn ours_is_held_against_each_peer_and_only_ours_has_targets() {
        let mut measured =
            [side(OURS, &[("a", 0.1)], Some(50.0)), side("b + c", &[("b", 0.2), ("c", 0.3)], Some(200.0))];
        let beside = Used { name: "probe-rapl".to_owned(), memory: 2_097_152.0, cpu: 0.01 };
        let ours = measured[0].footprint.as_mut().expect("it was measured");
        ours.beside.push(beside);
        let rows = rows(&measured, &AT_REST(), None);
        assert_eq!(found(&rows, "peers, memory: our probes").value, Some(2.0), "beside ours, and not in it");
        assert_eq!(found(&rows, "peers, CPU: b + c").note.as_deref(), Some("b 20.00, c 30.00"));
        for (name, value, kept) in [
            ("peers, memory: ours to b alone", 1.0, Some(Better::Less)),
            ("peers, memory: ours to b + c", 0.5, Some(Better::Less)),
            ("peers, CPU a sample: ours to b + c", 0.2, None),
            ("peers, wire: ours to b + c", 0.25, None),
            ("peers, at rest: ours to VictoriaMetrics", 2.0, Some(Better::Less)),
        ] {
            let row = found(&rows, name);
            assert_eq!((row.value, row.kept), (Some(value), kept), "{name}");
        }
        let lost = found(&rows, "peers, outage, ticks lost: ours");
        let when = "of 9 while its agent was alive; seconds 3 to 4 of the outage";
        assert_eq!((lost.holds, lost.note.as_deref()), (Some(false), Some(when)));
        assert_eq!(found(&rows, "peers, outage, ticks lost: b + c").holds, None);
    }

    #[test]
    fn what_is_not_here_is_a_row_that_says_so() {
        let ours = side(OURS, &[("a", 0.1)], None);
        let gone =
            Measured { footprint: None, verdict: None, why: Some("b is not here".into()), ..side("b", &[], None) };
        let rows = rows(&[ours, gone], &AT_REST(), Some("no root"));
        for (name, why) in [
            ("peers, memory: b", "b is not here"),
            ("peers, outage, ticks lost: b", "b is not here"),
            ("peers, wire: ours", "no root"),
            ("peers, at rest: Prometheus", "promtool is not here"),
        ] {
            let row = found(&rows, name);
            assert!(row.value.is_none() && row.note.as_ref().is_some_and(|note| note.contains(why)), "{row:?}");
        }
        assert!(rows.iter().all(|row| !row.name.contains("ours to b")));
    }
}
