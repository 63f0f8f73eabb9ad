//! `GET /metrics`: the aggregator's own numbers. What hosts report is elsewhere (`/api/v1/hosts/{id}/metrics`).
//!
//! Sums over ledgers are gauges: pruning takes away from them.

mod security;

use super::App;
use super::ledgers::LedgerTotals;
use super::openapi::Refusals;
use super::stats::Dropped;
use crate::live::{HostNow, Standing};
use crate::prometheus::text::{CONTENT_TYPE as TEXT, Exposition, Type};
use crate::telemetry::{DELAY_BOUNDS_MS, Delays};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use std::sync::Arc;

/// Hosts with series of their own; of the rest only the sums. A fleet of this size has a Prometheus that asks the hosts'
/// own targets, and a page of megabytes every 15 s serves nobody.
const MAX_HOSTS: usize = 2_000;

/// The aggregator's own metrics.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Prometheus's text format 0.0.4", body = String, content_type = "text/plain"), Refusals)
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT)], exposition(&app))
}

fn exposition(app: &App) -> String {
    let mut page = Page(Exposition::default());
    program(app, &mut page);
    ingest(app, &mut page);
    security::write(app, &mut page);
    journal(app, &mut page);
    hot_cache(app, &mut page);
    ledger(app, &mut page);
    hosts(app, &mut page);
    https(app, &mut page);
    page.0.finish()
}

/// Writes families of the two common kinds.
struct Page(Exposition);

impl Page {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.single(name, Type::Counter, help, float(value));
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.0.single(name, Type::Gauge, help, value);
    }

    /// A family with one label; none without a sample.
    fn labelled<'a>(
        &mut self,
        (name, kind, help): (&str, Type, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.0.family(name, kind, Some(help));
        }
        for (text, value) in values {
            self.0.sample(name, [(label, text)], value);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
fn float(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss, reason = "times and bounds; 2^53 ms are 280,000 years")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn program(app: &App, page: &mut Page) {
    page.0.family("dsmil_build_info", Type::Gauge, Some("The version that runs; always 1."));
    page.0.sample("dsmil_build_info", [("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.gauge("dsmil_start_time_seconds", "When the program started.", seconds(app.context.started_ms));
}

fn ingest(app: &App, page: &mut Page) {
    let t = &app.context.telemetry;
    page.counter("dsmil_sessions_total", "Sessions of hosts that were welcomed.", t.sessions.get());
    page.counter("dsmil_frames_total", "Frames that passed every check.", t.frames.get());
    let help = "Bytes of telemetry frames, framing included, QUIC and UDP excluded.";
    page.counter("dsmil_telemetry_bytes_total", help, t.telemetry_bytes.get());
    page.counter("dsmil_telemetry_framing_bytes_total", "Of these, bytes of framing.", t.framing_bytes.get());
    page.counter("dsmil_batches_stored_total", "Batches stored.", t.batches.get());
    page.counter("dsmil_batches_resent_total", "Batches that were stored already.", t.batches_resent.get());
    let help = "Batches that the journal could not take; the hosts keep them.";
    page.counter("dsmil_batches_deferred_total", help, t.batches_deferred.get());
    let help = "Metric sets that waited, because their host tells of more than it may.";
    page.counter("dsmil_metric_sets_delayed_total", help, t.sets_delayed.get());
    let help = "Ticks that were shown to whoever watched their host, before the batch that is stored.";
    page.counter("dsmil_live_ticks_total", help, t.live_ticks.get());
    page.counter("dsmil_ticks_stored_total", "Ticks in the stored batches.", t.ticks.get());
    page.counter("dsmil_samples_stored_total", "Samples in the stored batches.", t.samples.get());
    delays(&t.delays, page);
    let faults = t.faults();
    let count = |code: &ErrorCode| float(faults.get(code).copied().unwrap_or(0));
    let family = ("dsmil_frame_faults_total", Type::Counter, "Refused frames and batches, by error code.");
    page.labelled(family, "code", ErrorCode::ALL.iter().map(|code| (code.name(), count(code))));
}

fn delays(delays: &Delays, page: &mut Page) {
    let name = "dsmil_tick_to_queryable_seconds";
    let help = "From a tick's sampling to its being stored and visible; ticks that waited for a link are left out.";
    page.0.family(name, Type::Histogram, Some(help));
    let counts = delays.cumulative();
    for (bound, count) in DELAY_BOUNDS_MS.iter().zip(counts) {
        let bound = (float(*bound) / 1000.0).to_string();
        page.0.sample(&format!("{name}_bucket"), [("le", bound.as_str())], float(count));
    }
    let all = counts.last().copied().unwrap_or(0);
    page.0.sample(&format!("{name}_bucket"), [("le", "+Inf")], float(all));
    page.0.sample(&format!("{name}_sum"), [], float(delays.sum_ms()) / 1000.0);
    page.0.sample(&format!("{name}_count"), [], float(all));
}

fn journal(app: &App, page: &mut Page) {
    let warm = app.context.store.warm().stats();
    page.counter("dsmil_journal_commits_total", "Transactions of the journal.", warm.commits);
    let help = "Commits that failed; nothing of them was acknowledged.";
    page.counter("dsmil_journal_commit_failures_total", help, warm.failures);
    page.counter("dsmil_journal_batches_total", "Batches that the journal stored.", warm.stored);
    page.counter("dsmil_journal_duplicate_batches_total", "Batches that were in it already.", warm.duplicates);
    page.counter("dsmil_journal_refused_batches_total", "Batches that it refused.", warm.refused);
    let help = "Batches found unreadable; their ticks are asked for again.";
    page.counter("dsmil_journal_damaged_batches_total", help, warm.damaged);
    page.gauge("dsmil_journal_size_bytes", "Bytes of the journal's file.", float(warm.bytes));
    let failing = f64::from(u8::from(app.journal.is_failing()));
    let help = "Whether a commit failed in the last forty seconds, or none has succeeded since.";
    page.gauge("dsmil_journal_failing", help, failing);
    if let Some(age) = app.journal.commit_age(app.context.clock.mono()) {
        page.gauge("dsmil_journal_commit_age_seconds", "How long ago the last commit was.", age.as_secs_f64());
    }
}

fn hot_cache(app: &App, page: &mut Page) {
    let Some(hot) = app.context.store.hot_stats() else { return };
    page.counter("dsmil_hot_batches_total", "Batches that the hot cache took.", hot.stored);
    page.counter("dsmil_hot_left_out_batches_total", "Batches that it could not take.", hot.left_out);
    page.counter("dsmil_hot_evicted_batches_total", "Batches removed by age or size.", hot.evicted);
    page.counter("dsmil_hot_reopened_total", "Times its file was made anew.", hot.reopened);
    page.counter("dsmil_hot_commits_total", "Its transactions.", hot.commits);
    let works = hot.floor_ms != i64::MAX;
    page.gauge("dsmil_hot_working", "Whether the hot cache works.", f64::from(u8::from(works)));
    if works {
        let help = "From here on the hot cache is complete.";
        page.gauge("dsmil_hot_floor_timestamp_seconds", help, seconds(hot.floor_ms));
    }
}

fn ledger(app: &App, page: &mut Page) {
    let mut totals = LedgerTotals::default();
    app.context.store.warm().ledgers().iter().for_each(|(_, ledger)| totals.add(ledger));
    page.gauge("dsmil_ledger_expected_ticks", "Ticks that the hosts account for.", float(totals.expected));
    page.gauge("dsmil_ledger_stored_ticks", "Of these, stored.", float(totals.stored));
    page.gauge("dsmil_ledger_waiting_ticks", "Of these, neither stored nor lost.", float(totals.waiting));
    let family = ("dsmil_ledger_lost_ticks", Type::Gauge, "Of these, lost, by reason.");
    page.labelled(family, "reason", totals.lost_by.iter().map(|(reason, ticks)| (*reason, float(*ticks))));
    let help = "Ticks that came again under another batch's identity.";
    page.gauge("dsmil_ledger_duplicate_ticks", help, float(totals.duplicates));
    let help = "Ticks that came again under their own batch's identity.";
    page.gauge("dsmil_ledger_resent_ticks", help, float(totals.resent));
}

fn hosts(app: &App, page: &mut Page) {
    let (all, live) = (app.context.hosts(), app.context.live.all());
    let [up, awaited] = [Standing::Up, Standing::Awaited].map(|of| count(&live, of));
    let down = all.len().saturating_sub(up + awaited);
    let states = [("up", up), ("down", down), ("awaited", awaited)].map(|(state, n)| (state, float(n as u64)));
    let help = "Hosts, by whether they are heard of; awaited while nobody can know, after this program was away.";
    page.labelled(("dsmil_hosts", Type::Gauge, help), "state", states);
    let hidden = live.len().saturating_sub(MAX_HOSTS);
    page.gauge("dsmil_hosts_without_series", "Hosts for which there is no room below.", float(hidden as u64));
    let shown = &live[..live.len().min(MAX_HOSTS)];
    let mut each = |name: &str, help: &str, value: &dyn Fn(&HostNow) -> Option<f64>| {
        let of_host = |(host, now): &'_ (HostName, HostNow)| Some((host.to_string(), value(now)?));
        let values: Vec<(String, f64)> = shown.iter().filter_map(of_host).collect();
        let values = values.iter().map(|(host, value)| (host.as_str(), *value));
        page.labelled((name, Type::Gauge, help), "host", values);
    };
    each(
        "dsmil_host_up",
        "Whether the host has a session and was heard of in the last seconds; absent while nobody knows.",
        &|now| is_up(now.standing),
    );
    each("dsmil_host_heard_timestamp_seconds", "When anything came from the host last.", &|now| {
        now.heard_ms.map(seconds)
    });
    each("dsmil_host_waiting_ticks", "Ticks in the host's spool that are not acknowledged.", &|now| {
        Some(float(now.heartbeat.as_ref()?.waiting_ticks))
    });
    each("dsmil_host_spool_used_bytes", "Bytes in use of the host's spool.", &|now| {
        Some(float(now.heartbeat.as_ref()?.spool_bytes))
    });
    each("dsmil_host_spool_capacity_bytes", "Bytes that the host's spool may use.", &|now| {
        Some(float(now.heartbeat.as_ref()?.spool_capacity))
    });
    each("dsmil_host_clock_uncertainty_seconds", "By how much the host's times may be wrong.", &|now| {
        Some(seconds(now.epoch?.uncertainty_ns / 1000) / 1000.0)
    });
    each("dsmil_host_wall_ahead_seconds", "How far the host's wall clock is ahead of ours.", &|now| {
        Some(seconds(now.wall_ahead_ns? / 1000) / 1000.0)
    });
}

fn count(live: &[(HostName, HostNow)], standing: Standing) -> usize {
    live.iter().filter(|(_, host)| host.standing == standing).count()
}

/// As a sample: none where nobody knows.
pub(super) fn is_up(standing: Standing) -> Option<f64> {
    match standing {
        Standing::Up => Some(1.0),
        Standing::Down => Some(0.0),
        Standing::Awaited => None,
    }
}

fn https(app: &App, page: &mut Page) {
    let stats = &app.context.stats;
    page.gauge("dsmil_api_connections", "HTTPS connections that are open.", float(stats.connections() as u64));
    let help = "Of these, without a post-quantum key exchange.";
    page.gauge("dsmil_api_classical_connections", help, float(stats.classical_now()));
    page.0.family("dsmil_https_sessions_total", Type::Counter, Some("HTTPS sessions, by group of the key exchange."));
    for (session, count) in stats.sessions() {
        let labels = [("group", session.group), ("classical", if session.classical { "true" } else { "false" })];
        page.0.sample("dsmil_https_sessions_total", labels, float(count));
    }
    let family = ("dsmil_api_dropped_connections_total", Type::Counter, "Connections that came to nothing, by reason.");
    page.labelled(family, "reason", Dropped::ALL.iter().map(|why| (why.name(), float(stats.dropped_count(*why)))));
    let family = ("dsmil_api_responses_total", Type::Counter, "Answers, by class of status.");
    page.labelled(family, "class", stats.answers().map(|(class, count)| (class, float(count))));
    page.counter("dsmil_api_unauthorised_total", "Requests without a good token.", stats.unauthorised());
}
