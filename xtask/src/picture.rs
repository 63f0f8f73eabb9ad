//! `cargo xtask picture`: docs/pictures/outage.svg, drawn from what a host said of itself while its aggregator was gone.
//!
//! The figures beside the picture were taken from a real run: a line a second from `dsmilctl host status --json`, the last
//! line from the centre's ledger when the agent had said goodbye; docs/development.md has the commands. The picture is a function of them, and a test sees that it is theirs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use crate::workspace;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 304.0;
/// Where the axes are: left, right, top, bottom.
const PLOT: [f64; 4] = [56.0, 844.0, 74.0, 270.0];
const HEAD: &str = "second,sampled,accounted,aggregator";

/// What the host said in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    second: u32,
    /// Ticks taken since the agent started.
    sampled: u32,
    /// Those that the aggregator has acknowledged.
    accounted: u32,
    /// Whether the aggregator was alive.
    aggregator: bool,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let picture = draw(&read(&fs::read_to_string(file("csv"))?)?)?;
    fs::write(file("svg"), picture).context("the picture cannot be written")?;
    println!("docs/pictures/outage.svg");
    Ok(())
}

/// The picture, or the figures beside it.
fn file(ending: &str) -> PathBuf {
    workspace::root().join("docs/pictures/outage").with_extension(ending)
}

fn read(csv: &str) -> anyhow::Result<Vec<Sample>> {
    let mut lines = csv.lines();
    ensure!(lines.next() == Some(HEAD), "the first line is not `{HEAD}`");
    lines.map(|line| sample(line).with_context(|| format!("not a line of figures: {line}"))).collect()
}

fn sample(line: &str) -> anyhow::Result<Sample> {
    let numbers = line.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let [second, sampled, accounted, aggregator @ (0 | 1)] = numbers[..] else {
        bail!("four numbers, the last 0 or 1")
    };
    Ok(Sample { second, sampled, accounted, aggregator: aggregator == 1 })
}

/// Maps figures to places.
struct Scale {
    first: f64,
    seconds: f64,
    ticks: f64,
}

impl Scale {
    fn x(&self, second: u32) -> f64 {
        PLOT[0] + (f64::from(second) - self.first) / self.seconds * (PLOT[1] - PLOT[0])
    }

    fn y(&self, ticks: u32) -> f64 {
        PLOT[3] - f64::from(ticks) / self.ticks * (PLOT[3] - PLOT[2])
    }
}

fn draw(samples: &[Sample]) -> anyhow::Result<String> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { bail!("no figures") };
    ensure!(last.second > first.second && last.sampled > 0, "figures of one moment");
    let seconds = last.second - first.second;
    let scale = Scale { first: first.second.into(), seconds: seconds.into(), ticks: last.sampled.into() };
    let mut rest = samples.iter().skip_while(|sample| sample.aggregator);
    let killed = rest.next().context("the aggregator was never gone")?;
    let back = rest.find(|sample| sample.aggregator).context("the aggregator never came back")?;
    let gone = back.second - killed.second;

    let mut svg = head(&format!(
        "A host whose aggregator is killed for {gone} s: {} ticks sampled, {} stored, {} lost",
        last.sampled,
        last.accounted,
        last.sampled.saturating_sub(last.accounted)
    ));
    let (from, to) = (scale.x(killed.second), scale.x(back.second));
    svg.push_str(&format!(
        "<rect class=\"gone\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
        PLOT[2],
        to - from,
        PLOT[3] - PLOT[2]
    ));
    svg.push_str(&grid(&scale, samples));
    svg.push_str(&area("waiting", &scale, samples, |sample| sample.sampled));
    svg.push_str(&area("stored", &scale, samples, |sample| sample.accounted));
    let text = |class: &str, x: f64, y: f64, words: &str| {
        format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>\n")
    };
    svg.push_str(&text("name", from + 8.0, PLOT[2] + 18.0, "aggregator killed (SIGKILL)"));
    svg.push_str(&text("name", to + 8.0, PLOT[2] + 18.0, "started again"));
    let above = scale.y(killed.accounted) - 14.0;
    svg.push_str(&text("on end", to - 12.0, above, "waiting on the host’s tmpfs"));
    svg.push_str(&text("on end", PLOT[1] - 14.0, PLOT[3] - 14.0, "acknowledged: in the durable journal"));
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Everything before the figures: size, colours for a light and a dark page, the title.
fn head(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
         <!-- Drawn from outage.csv by `cargo xtask picture`. -->\n\
         <style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #24292f; }}\n\
         .page {{ fill: #ffffff; }} .title {{ font-size: 15px; font-weight: 600; }} .end {{ text-anchor: end; }}\n\
         .gone {{ fill: #f3d9d6; }} .stored {{ fill: #2f6fb3; }} .waiting {{ fill: #c9780f; }} .on {{ fill: #ffffff; font-weight: 600; }}\n\
         .grid {{ stroke: #d0d7de; }} .axis {{ fill: #57606a; }} .middle {{ text-anchor: middle; }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3; }} .page {{ fill: #0d1117; }} .gone {{ fill: #3d2422; }} .stored {{ fill: #2f6fb3; }}\n\
         .waiting {{ fill: #b97712; }} .grid {{ stroke: #30363d; }} .axis {{ fill: #8b949e; }}\n\
         }}\n\
         </style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{}\" y=\"30\">{title}</text>\n\
         <text class=\"axis\" x=\"{}\" y=\"52\">ticks of the host, one a second</text>\n",
        16.0, 16.0
    )
}

/// Lines and numbers of both axes.
fn grid(scale: &Scale, samples: &[Sample]) -> String {
    let mut svg = String::new();
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    for ticks in (0..=last.sampled).step_by(20) {
        let y = scale.y(ticks);
        svg.push_str(&format!("<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/>\n", PLOT[0], PLOT[1]));
        svg.push_str(&format!(
            "<text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{ticks}</text>\n",
            PLOT[0] - 8.0,
            y + 4.5
        ));
    }
    for second in (0..=last.second - first.second).step_by(20) {
        let x = scale.x(first.second + second);
        svg.push_str(&format!(
            "<text class=\"axis middle\" x=\"{x:.1}\" y=\"{:.1}\">{second} s</text>\n",
            PLOT[3] + 22.0
        ));
    }
    svg
}

/// What lies under one of the figures, as steps: an acknowledgement is of many ticks at once.
fn area(class: &str, scale: &Scale, samples: &[Sample], of: impl Fn(&Sample) -> u32) -> String {
    let mut path = format!("M{:.1} {:.1}", PLOT[0], PLOT[3]);
    for sample in samples {
        path.push_str(&format!("H{:.1}V{:.1}", scale.x(sample.second), scale.y(of(sample))));
    }
    format!("<path class=\"{class}\" d=\"{path}V{:.1}Z\"/>\n", PLOT[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_that_of_the_figures_beside_it() {
        let samples = read(&fs::read_to_string(file("csv")).unwrap()).unwrap();
        let drawn = draw(&samples).unwrap();
        assert!(
            fs::read_to_string(file("svg")).unwrap() == drawn,
            "run `cargo xtask picture` and commit what it draws"
        );
        assert!(drawn.len() < 100 << 10, "a picture of {} bytes", drawn.len());
    }

    #[test]
    fn figures_that_are_none_are_refused() {
        for csv in
            ["", "second", "second,sampled,accounted,aggregator\n1,2,3", "second,sampled,accounted,aggregator\n1,2,3,4"]
        {
            assert!(read(csv).is_err(), "{csv:?}");
        }
        let alive = Sample { second: 1, sampled: 1, accounted: 0, aggregator: true };
        assert!(draw(&[]).is_err() && draw(&[alive]).is_err());
        assert!(draw(&[alive, Sample { second: 9, ..alive }]).is_err(), "the aggregator was never gone");
    }
}
