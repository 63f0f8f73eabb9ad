//! Drives one session: the protocol decides what to say, this does what it says.

use super::ending::End;
use super::lanes::Lanes;
use super::{Attempt, Progress, Shared, SharedSpool, UplinkConfig};
use crate::credentials::Credentials;
use crate::fleet_settings::SettingsDesk;
use crate::sampler::Row;
use crate::spool::BatchKey;
use crate::status::LinkBoard;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::health::Health;
use dsmil_protocol::ids::BootId;
use dsmil_protocol::message::{
    Accounted, GapRecord, GoodbyeReason, Hello, HostTimes, MAX_GAPS, PROTOCOL_VERSIONS, Rejected,
};
use dsmil_protocol::metric::SetId;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Closed, Event, Vitals};
use dsmil_protocol::session::{Lane, Now};
use dsmil_runtime::clock::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Batches read from the spool at once while the backlog drains.
const BACKLOG_STEP: usize = 8;
/// Gaps that were said and not acknowledged are said again after this.
const GAPS_AGAIN: Duration = Duration::from_secs(5);
/// When the agent stops: how long what waits may still go out.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Bytes taken from the control stream at once.
const CHUNK: usize = 16 << 10;

/// A session on a connection.
pub(super) struct Drive {
    session: AgentSession,
    connection: quinn::Connection,
    receive: quinn::RecvStream,
    reader: FrameReader,
    lanes: Lanes,
    clock: Clock,
    spool: SharedSpool,
    progress: watch::Receiver<Progress>,
    newest: watch::Receiver<Option<Arc<Row>>>,
    boot: BootId,
    board: LinkBoard,
    credentials: Credentials,
    settings: SettingsDesk,
    /// What the aggregator was told of the settings.
    told: Option<Health>,
    /// The batch that went out live last.
    live: Option<BatchKey>,
    gaps: Vec<GapRecord>,
    gaps_at: Duration,
    window: Option<Duration>,
    /// Sampling is over: when to give up on what still waits.
    leave_at: Option<Duration>,
}

impl Drive {
    /// Opens the control stream and says HELLO.
    pub(super) async fn start(
        config: &UplinkConfig,
        connection: quinn::Connection,
        shared: Shared,
    ) -> Result<Self, End> {
        let Shared { clock, supervisor, spool, progress, newest, board, credentials, settings, .. } = shared;
        let (send, receive) = connection.open_bi().await.map_err(|error| End::of(&error))?;
        let now = now(&clock);
        let hello = Hello {
            versions: PROTOCOL_VERSIONS.to_vec(),
            host: config.host.clone(),
            boot: config.boot,
            devices: config.devices.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            accounts: spool.lock().accounts(),
            bundle_version: credentials.current().trust().version(),
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
        };
        let live = progress.borrow().sealed;
        Ok(Self {
            session: AgentSession::start(config.speaker.clone(), &hello, now),
            lanes: Lanes::start(&connection, send, &supervisor),
            connection,
            receive,
            reader: FrameReader::new(),
            clock,
            spool,
            progress,
            newest,
            boot: config.boot,
            board,
            credentials,
            settings,
            told: None,
            live,
            gaps: Vec::new(),
            gaps_at: Duration::ZERO,
            window: None,
            leave_at: None,
        })
    }

    /// Runs until the session or the connection ends.
    pub(super) async fn run(mut self) -> Attempt {
        let end = loop {
            if let Some(end) = self.work() {
                break end;
            }
            let due = self.due();
            tokio::select! {
                chunk = self.receive.read_chunk(CHUNK, true) => match chunk {
                    Ok(Some(chunk)) => self.read(&chunk.bytes),
                    Ok(None) => break End::Unreachable("the aggregator closed the connection".into()),
                    Err(_) => break self.lost().await,
                },
                () = self.clock.sleep_until(due) => {}
                changed = self.progress.changed() => if changed.is_err() {
                    break End::Unreachable("stopping".into());
                },
            }
        };
        let Self { session, connection, lanes, clock, window, .. } = self;
        drop((session, lanes));
        // The last frames are written by the lanes; the aggregator closes when it has read them.
        tokio::select! {
            _ = connection.closed() => {}
            () = clock.sleep(Duration::from_millis(500)) => connection.close(quinn::VarInt::from_u32(0), b""),
        }
        Attempt { end, window }
    }

    async fn lost(&self) -> End {
        tokio::select! {
            error = self.connection.closed() => End::of(&error),
            () = self.clock.sleep(Duration::from_secs(1)) => End::Unreachable("the control stream was reset".into()),
        }
    }

    /// Does everything that can be done now. Returns the end of the session when it came.
    fn work(&mut self) -> Option<End> {
        let now = now(&self.clock);
        if self.session.deadline().is_some_and(|due| due <= now.mono) {
            let vitals = self.vitals();
            self.session.on_deadline(vitals, now);
        }
        let mut end = None;
        while let Some(event) = self.session.poll_event() {
            end = end.or(self.handle(event, now));
        }
        if self.session.is_open() {
            self.keep_to_settings(now);
            self.send_gaps(now);
            self.send_live(now);
            self.show_tick(now);
            self.send_backlog(now);
            self.maybe_leave(now);
        }
        while let Some(out) = self.session.poll_output() {
            self.lanes.send(out);
        }
        if let Some(epoch) = self.session.epoch() {
            self.board.compared(epoch);
        }
        end.or_else(|| self.session.is_closed().then_some(End::Closed(Closed::Goodbye(GoodbyeReason::Stopping))))
    }

    fn due(&self) -> Duration {
        let mut due = self.session.deadline().unwrap_or(Duration::MAX);
        if self.session.is_open() {
            let free_at = self.session.backlog_free_at();
            if free_at > self.clock.mono() {
                due = due.min(free_at);
            }
        }
        due.min(self.leave_at.unwrap_or(Duration::MAX))
    }

    fn read(&mut self, bytes: &[u8]) {
        self.reader.extend(bytes);
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => self.session.receive(&frame, now(&self.clock)),
                Ok(None) => return,
                Err(fault) => {
                    tracing::warn!(code = %fault.code, "the aggregator sent a damaged frame: connecting anew");
                    self.session.goodbye(GoodbyeReason::Refused, now(&self.clock));
                    return;
                }
            }
        }
    }

    fn handle(&mut self, event: Event, now: Now) -> Option<End> {
        match event {
            Event::Welcomed(welcome) => {
                self.window = Some(Duration::from_millis(welcome.settings.reconnect_window_ms.into()));
                self.board.connected(self.credentials.current().link().key_exchange.negotiated().into());
                tracing::info!(aggregator = %self.connection.remote_address(), "connected");
                self.compare(&welcome.accounted);
            }
            Event::Accounted(accounted) => {
                self.board.acknowledged();
                if let Err(error) = self.spool.lock().accounted(&accounted) {
                    tracing::warn!(%error, "acknowledged batches could not be deleted; they are acknowledged again");
                }
            }
            Event::Rejected(boot, rejected) => self.set_aside(boot, rejected),
            Event::NeedSets(sets) => sets.into_iter().for_each(|set| self.tell_set(set, now)),
            Event::TrustBundle(bundle) => return self.take_bundle(&bundle),
            Event::Settings(settings) => self.settings.take(&settings),
            Event::Closed(closed) => return Some(End::Closed(closed)),
        }
        None
    }

    fn vitals(&self) -> Vitals {
        Vitals { bundle_version: self.credentials.current().trust().version(), ..self.spool.lock().vitals() }
    }

    /// Takes a trust bundle, and leaves an aggregator that it does not vouch for any more.
    fn take_bundle(&mut self, bundle: &[u8]) -> Option<End> {
        // Refused ones are logged and shown; the one that is held stays in force.
        let is_new = self.credentials.accept_bundle(bundle).unwrap_or(false);
        let refusal = self.credentials.current().link().authenticate(&self.connection).err().filter(|_| is_new)?;
        Some(End::Handshake { refusal, ours: true })
    }

    /// Keeps to the backlog's cap, and says what has become of the settings when it has changed.
    fn keep_to_settings(&mut self, now: Now) {
        let cap = self.settings.values().backlog_kib_per_second.map(|kib| kib.saturating_mul(1024));
        self.session.cap_backlog(cap);
        let health = self.settings.health();
        if self.session.speaks_of_settings() && self.told.as_ref() != Some(&health) {
            self.session.send_health(&health, now);
            self.told = Some(health);
        }
    }

    /// What the aggregator once acknowledged and now lacks is said to be lost, or it would wait for it for ever.
    fn compare(&self, accounted: &[Accounted]) {
        for boot in accounted {
            match self.spool.lock().note_journal_losses(boot) {
                Ok(0) => {}
                Ok(ticks) => tracing::error!(
                    ticks,
                    "acknowledged ticks are not in the aggregator's journal any more, and not here either"
                ),
                Err(error) => tracing::warn!(%error, "lost ticks could not be written down; the next session does it"),
            }
        }
    }

    fn set_aside(&mut self, boot: BootId, rejected: Rejected) {
        let code = ErrorCode::from_number(rejected.code);
        tracing::warn!(first = rejected.first.0, %code, "a batch was rejected and set aside: {}", code.remedy());
        if let Err(error) = self.spool.lock().set_aside(boot, rejected) {
            tracing::warn!(%error, "it could not be set aside");
        }
    }

    fn tell_set(&mut self, set: SetId, now: Now) {
        let encoded = self.spool.lock().metric_set(set);
        match encoded {
            Ok(Some(encoded)) => self.session.send_metric_set(encoded, now),
            Ok(None) => self.give_up_on(set),
            Err(error) => tracing::warn!(%set, %error, "a metric set could not be read"),
        }
    }

    /// Batches whose metric set nobody knows any more will never mean anything.
    fn give_up_on(&mut self, set: SetId) {
        let mut others = BTreeSet::new();
        loop {
            let looked_at = |boot, first| others.contains(&(boot, first));
            let Ok(batches) = self.spool.lock().backlog(&looked_at, BACKLOG_STEP) else { return };
            if batches.is_empty() {
                return;
            }
            for batch in batches {
                let first = batch.ticks.first;
                // Set aside or not, it is not looked at again: what the spool could not do now it is asked for anew later.
                others.insert((batch.boot, first));
                if batch.set == set {
                    self.set_aside(batch.boot, Rejected { first, code: ErrorCode::UnknownMetricSet.number() });
                }
            }
        }
    }

    fn send_gaps(&mut self, now: Now) {
        let gaps = match self.spool.lock().gaps(MAX_GAPS) {
            Ok(gaps) => gaps,
            Err(error) => return tracing::warn!(%error, "gaps could not be read"),
        };
        if !gaps.is_empty() && (gaps != self.gaps || now.mono >= self.gaps_at + GAPS_AGAIN) {
            self.session.send_gaps(gaps.clone(), now);
            (self.gaps, self.gaps_at) = (gaps, now.mono);
        }
    }

    fn send_live(&mut self, now: Now) {
        let sealed = self.progress.borrow_and_update().sealed;
        if sealed == self.live {
            return;
        }
        self.live = sealed;
        let Some(key) = sealed else { return };
        match self.spool.lock().batch(&key) {
            Ok(Some(batch)) if !self.session.is_number_in_flight(key.first) => {
                self.session.send_batch(Lane::Live, batch, now);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a batch could not be read"),
        }
    }

    /// Sends the newest tick to whoever watches. On a link that is slower than that some ticks are not seen: they wait in
    /// the spool like all others.
    fn show_tick(&mut self, now: Now) {
        if !self.session.is_watched(now) || !self.newest.has_changed().unwrap_or(false) || !self.lanes.is_live_idle() {
            return;
        }
        let Some(row) = self.newest.borrow_and_update().clone() else { return };
        match row.alone(self.boot) {
            Ok(bytes) => {
                self.session.send_live(row.tick, &row.set, bytes, now);
            }
            Err(error) => tracing::warn!(tick = row.tick.0, %error, "a tick could not be shown to whoever watches"),
        }
    }

    fn send_backlog(&mut self, now: Now) {
        loop {
            let room = self.session.backlog_room(now).min(BACKLOG_STEP);
            if room == 0 {
                return;
            }
            let session = &self.session;
            let batches = self.spool.lock().backlog(&|_, first| session.is_number_in_flight(first), room);
            match batches {
                Ok(batches) if batches.is_empty() => return,
                Ok(batches) => {
                    for batch in batches {
                        if self.session.backlog_room(now) == 0 {
                            return;
                        }
                        self.session.send_batch(Lane::Backlog, batch, now);
                    }
                }
                Err(error) => return tracing::warn!(%error, "the backlog could not be read"),
            }
        }
    }

    /// Once sampling is over: waits until nothing waits, but not for ever, and says goodbye.
    fn maybe_leave(&mut self, now: Now) {
        if !self.progress.borrow().finished {
            return;
        }
        let vitals = self.vitals();
        let leave_at = match self.leave_at {
            Some(leave_at) => leave_at,
            None => {
                // The ledger has to know the last tick.
                self.session.heartbeat(vitals, now);
                *self.leave_at.insert(now.mono + LAST_WORDS)
            }
        };
        if (vitals.waiting_ticks == 0 && self.spool.lock().gaps(1).is_ok_and(|gaps| gaps.is_empty()))
            || now.mono >= leave_at
        {
            self.session.goodbye(GoodbyeReason::Stopping, now);
        }
    }
}

fn now(clock: &Clock) -> Now {
    let boot_ns = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
    Now { mono: clock.mono(), boot_ns, wall_ns: clock.wall_ns() }
}
