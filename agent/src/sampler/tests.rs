//! The sampler under a clock that tests move, with sensors that hang, panic and lie.

use super::host::*;
use super::*;
use dsmil_authority::SensorSetting;
use dsmil_protocol::batch::{Batch, BatchHeader, Matrix, Stamp, encode};
use dsmil_protocol::ids::BootId;
use dsmil_protocol::metric::Scale;
use dsmil_runtime::clock::ManualClock;
use dsmil_runtime::supervise::{Drained, Supervisor};
use dsmil_sensors::root::Root;
use dsmil_sensors::tree::{Tree, series};
use dsmil_sensors::{Form, MAX_SENSOR_METRICS, Reading, Sensor, SensorError, all};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const GAUGE: Form = Form::gauge(Scale::ONE);

/// What a test's sensor does at its next reading.
enum Act {
    Push(Vec<(&'static str, u64)>),
    Fail(Vec<(&'static str, u64)>),
    Panic,
}

/// Does what it is told, and hangs until it is told.
struct Puppet(&'static str, Mutex<Receiver<Act>>);

impl Sensor for Puppet {
    fn name(&self) -> &'static str {
        self.0
    }

    fn source(&self) -> &'static str {
        "a test"
    }

    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let act = self.1.get_mut().expect("one thread").recv().unwrap_or(Act::Push(Vec::new()));
        let (metrics, end) = match act {
            Act::Push(metrics) => (metrics, Ok(())),
            Act::Fail(metrics) => (metrics, Err(SensorError::Missing { file: "x" })),
            Act::Panic => panic!("a sensor's bug"),
        };
        for (name, bits) in metrics {
            out.push(name, &[], GAUGE, Some(bits));
        }
        end
    }
}

struct Stage {
    source: HostSource,
    hands: Vec<Sender<Act>>,
    time: ManualClock,
    supervisor: Supervisor,
}

fn stage(names: &[&'static str]) -> Stage {
    let (clock, time) = Clock::manual();
    let supervisor = Supervisor::new(clock.clone());
    let (hands, puppets): (Vec<_>, Vec<_>) = names
        .iter()
        .map(|name| {
            let (hand, acts) = channel();
            (hand, Box::new(Puppet(name, Mutex::new(acts))) as Box<dyn Sensor>)
        })
        .unzip();
    let root = Arc::new(Tree::new().root());
    Stage { source: HostSource::new(clock, &supervisor, root, puppets), hands, time, supervisor }
}

impl Stage {
    /// A tick at which `silent` sensors do not answer: their deadline passes once all others have answered.
    async fn tick(&mut self, tick: u64, silent: usize) -> Row {
        let (countdown, time) = (self.source.countdown(), self.time.clone());
        let pass_time = async {
            // Each of them holds a thread until another one helps those behind it.
            for _ in 0..silent {
                while countdown.current() != Tick(tick) {
                    tokio::task::yield_now().await;
                }
                time.advance(HELP_AFTER);
                // The other side sees each of these steps, whichever of the two is polled first.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            }
            if silent > 0 {
                while countdown.current() != Tick(tick) || countdown.outstanding() > silent {
                    tokio::task::yield_now().await;
                }
                time.advance(DEADLINE);
            }
        };
        tokio::join!(self.source.collect(Tick(tick)), pass_time).0
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.source.reports().borrow().iter().map(|report| report.verdict).collect()
    }
}

fn value(row: &Row, name: &str) -> Option<u64> {
    let at = row.set.metrics().iter().position(|metric| series(metric) == name);
    row.values[at.unwrap_or_else(|| panic!("{name} is not in the set"))]
}

fn push(metrics: &[(&'static str, u64)]) -> Act {
    Act::Push(metrics.to_vec())
}

#[tokio::test]
async fn a_hung_sensor_costs_its_own_values_only() {
    let mut s = stage(&["hangs", "works"]);
    s.hands[0].send(push(&[("h", 1)])).expect("a sensor");
    s.hands[1].send(push(&[("w", 10)])).expect("a sensor");
    let first = s.tick(7, 0).await;
    assert_eq!((value(&first, "h"), value(&first, "w")), (Some(1), Some(10)));
    assert_eq!(value(&first, "node_scrape_collector_success{collector=\"hangs\"}"), Some(1));
    assert_eq!(s.verdicts(), [Verdict::Ok, Verdict::Ok]);

    for tick in 8..11 {
        s.hands[1].send(push(&[("w", tick)])).expect("a sensor");
        // At tick 8 it was asked and is counted; later it is not asked, so nothing is waited for.
        let row = s.tick(tick, usize::from(tick == 8)).await;
        assert!(Arc::ptr_eq(&row.set, &first.set), "hanging does not change the set");
        assert_eq!((value(&row, "h"), value(&row, "w")), (None, Some(tick)));
        assert_eq!(value(&row, "node_scrape_collector_success{collector=\"hangs\"}"), Some(0));
        assert_eq!(value(&row, "node_scrape_collector_duration_seconds{collector=\"hangs\"}"), None);
        assert_eq!(s.verdicts(), [Verdict::Late { since: Tick(8) }, Verdict::Ok]);
    }

    // Its answer of tick 8 is dropped, and then it goes on.
    s.hands[0].send(push(&[("h", 8)])).expect("a sensor");
    s.source.until_answered().await;
    s.hands[0].send(push(&[("h", 11)])).expect("a sensor");
    s.hands[1].send(push(&[("w", 11)])).expect("a sensor");
    let row = s.tick(11, 0).await;
    assert_eq!((value(&row, "h"), value(&row, "w")), (Some(11), Some(11)));
    assert_eq!(s.verdicts(), [Verdict::Ok, Verdict::Ok]);
}

#[tokio::test]
async fn one_thread_asks_all_until_somebody_hangs_and_again_when_it_is_over() {
    let mut stage = stage(&["a", "b", "c", "d"]);
    let all = |stage: &Stage, silent: &[usize]| {
        for (place, hand) in stage.hands.iter().enumerate().filter(|(place, _)| !silent.contains(place)) {
            hand.send(push(&[(["w", "x", "y", "z"][place], 1)])).expect("a sensor");
        }
    };
    all(&stage, &[]);
    stage.tick(1, 0).await;
    assert_eq!(stage.source.threads(), 1);
    all(&stage, &[0, 2]);
    let row = stage.tick(2, 2).await;
    assert_eq!((value(&row, "x"), value(&row, "z")), (Some(1), Some(1)), "those behind them are read all the same");
    assert_eq!((value(&row, "w"), value(&row, "y")), (None, None));
    assert_eq!(stage.source.threads(), 3, "one for each that hangs, and one");
    all(&stage, &[1, 3]);
    stage.source.until_answered().await;
    all(&stage, &[]);
    stage.tick(3, 0).await;
    assert_eq!(stage.verdicts(), [Verdict::Ok; 4]);
    // Whoever comes back to find another one idle ends; it may take it a moment.
    while stage.source.threads() > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_was_slow_is_asked_last() {
    let mut stage = stage(&["slow", "quick"]);
    stage.hands[1].send(push(&[("q", 1)])).expect("a sensor");
    stage.tick(1, 1).await;
    stage.hands[0].send(push(&[("s", 1)])).expect("a sensor");
    stage.source.until_answered().await;
    while stage.source.threads() > 1 {
        tokio::task::yield_now().await;
    }
    // With nobody to help: had it been asked first, the other one would have no answer.
    stage.hands[1].send(push(&[("q", 2)])).expect("a sensor");
    let countdown = stage.source.countdown();
    let time = stage.time.clone();
    let pass_time = async {
        while countdown.current() != Tick(2) || countdown.outstanding() > 1 {
            tokio::task::yield_now().await;
        }
        time.advance(DEADLINE);
    };
    let row = tokio::join!(stage.source.collect(Tick(2)), pass_time).0;
    assert_eq!(value(&row, "q"), Some(2));
}

#[tokio::test]
async fn a_late_answer_that_comes_during_another_tick_is_dropped_too() {
    let mut s = stage(&["hangs"]);
    s.hands[0].send(push(&[("h", 7)])).expect("a sensor");
    s.tick(7, 0).await;
    s.tick(8, 1).await;
    s.hands[0].send(push(&[("h", 8)])).expect("a sensor");
    s.source.until_answered().await;
    let row = s.source.row(Tick(9), 0);
    assert_eq!(value(&row, "h"), None, "a value of tick 8 is none of tick 9");
    assert_eq!(value(&row, "node_scrape_collector_success{collector=\"hangs\"}"), Some(0));
}

#[tokio::test]
async fn a_sensor_that_hangs_from_the_start_joins_when_it_answers() {
    let mut s = stage(&["hangs", "works"]);
    s.hands[1].send(push(&[("w", 1)])).expect("a sensor");
    let row = s.tick(1, 1).await;
    assert_eq!(value(&row, "w"), Some(1));
    s.hands[0].send(push(&[("h", 1)])).expect("a sensor");
    s.source.until_answered().await;
    for hand in &s.hands {
        hand.send(push(&[("x", 2)])).expect("a sensor");
    }
    let later = s.tick(2, 0).await;
    assert_ne!(later.set.id(), row.set.id());
    assert_eq!(later.values.len(), 1 + 2 * 2 + 2);
}

#[tokio::test]
async fn a_panic_is_a_verdict_and_the_sensor_goes_on() {
    let mut s = stage(&["panics"]);
    s.hands[0].send(push(&[("p", 1)])).expect("a sensor");
    let first = s.tick(1, 0).await;
    s.hands[0].send(Act::Panic).expect("a sensor");
    let row = s.tick(2, 0).await;
    assert_eq!((value(&row, "p"), s.verdicts()), (None, vec![Verdict::Panicked]));
    assert!(Arc::ptr_eq(&row.set, &first.set));
    s.hands[0].send(push(&[("p", 3)])).expect("a sensor");
    let row = s.tick(3, 0).await;
    assert_eq!((value(&row, "p"), s.verdicts()), (Some(3), vec![Verdict::Ok]));
}

#[tokio::test]
async fn what_was_read_before_a_failure_counts() {
    let mut s = stage(&["fails"]);
    s.hands[0].send(push(&[("a", 1), ("b", 1)])).expect("a sensor");
    let first = s.tick(1, 0).await;
    s.hands[0].send(Act::Fail(vec![("a", 2)])).expect("a sensor");
    let row = s.tick(2, 0).await;
    assert!(Arc::ptr_eq(&row.set, &first.set));
    assert_eq!((value(&row, "a"), value(&row, "b")), (Some(2), None));
    assert_eq!(s.verdicts(), [Verdict::Failed(SensorError::Missing { file: "x" })]);
}

#[tokio::test]
async fn the_set_changes_when_metrics_do_and_only_then() {
    let mut s = stage(&["one", "two"]);
    let mut sets = Vec::new();
    for (tick, one) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
        s.hands[0].send(push(&[(one, tick)])).expect("a sensor");
        s.hands[1].send(push(&[("z", tick * 10)])).expect("a sensor");
        let row = s.tick(tick, 0).await;
        assert_eq!((value(&row, one), value(&row, "z")), (Some(tick), Some(tick * 10)));
        assert_eq!(row.values.len(), row.set.metrics().len());
        sets.push(row.set);
    }
    assert!(Arc::ptr_eq(&sets[0], &sets[1]) && Arc::ptr_eq(&sets[2], &sets[3]));
    assert_ne!(sets[1].id(), sets[2].id());
}

/// Pushes far more than fits.
struct Flood(&'static str);

impl Sensor for Flood {
    fn name(&self) -> &'static str {
        self.0
    }

    fn source(&self) -> &'static str {
        "a test"
    }

    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for i in 0..MAX_SENSOR_METRICS + 1 {
            out.push("flood", &[("sensor", self.0), ("i", &i.to_string())], GAUGE, Some(0));
        }
        Ok(())
    }
}

#[tokio::test]
async fn sensors_that_flood_are_cut_and_say_so() {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let names = ["f1", "f2", "f3", "f4", "f5"];
    let floods = names.map(|name| Box::new(Flood(name)) as Box<dyn Sensor>);
    let mut source = HostSource::new(clock, &supervisor, Arc::new(Tree::new().root()), floods.into());
    let reports = source.reports();
    // A debug build on a busy machine may need more than a deadline for its first 100,000 metrics.
    let row = loop {
        let row = source.collect(Tick(1)).await;
        if reports.borrow().iter().all(|report| !matches!(report.verdict, Verdict::Late { .. })) {
            break row;
        }
    };
    assert_eq!(row.values.len(), row.set.metrics().len());
    assert!(row.set.metrics().len() <= dsmil_protocol::metric::MAX_METRICS);
    for report in reports.borrow().iter() {
        assert!(matches!(report.verdict, Verdict::Failed(SensorError::TooMany { .. })), "{report:?}");
    }
}

#[tokio::test]
async fn the_threads_end_with_the_source_and_a_hung_one_is_counted() {
    let mut s = stage(&["hangs", "works"]);
    s.hands[1].send(push(&[])).expect("a sensor");
    s.tick(1, 1).await;
    drop(s.source);
    until_drained(&s.supervisor, &s.time, &Drained::Stuck(1)).await;
    s.hands.clear();
    until_drained(&s.supervisor, &s.time, &Drained::Clean).await;
}

/// Threads end in their own time, so the supervisor is asked until it says what it must say in the end.
async fn until_drained(supervisor: &Supervisor, time: &ManualClock, end: &Drained) {
    let give_up = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let drained = supervisor.drain(Duration::from_secs(1));
            let pass_time = async {
                tokio::task::yield_now().await;
                time.advance(Duration::from_secs(1));
            };
            if tokio::join!(drained, pass_time).0 == *end {
                break;
            }
        }
    });
    give_up.await.expect("the threads end");
}

/// Yields the tick as its only value.
struct Echo {
    clock: Clock,
    set: Arc<MetricSet>,
}

impl Source for Echo {
    async fn collect(&mut self, tick: Tick) -> Row {
        Row { tick, wall_ms: self.clock.wall_ms(), set: Arc::clone(&self.set), values: vec![Some(tick.0)] }
    }
}

struct Ticker {
    time: ManualClock,
    rows: UnboundedReceiver<(Row, Option<TickRange>)>,
    supervisor: Supervisor,
}

fn ticker(start: Duration) -> Ticker {
    let (clock, time) = Clock::manual();
    time.advance(start);
    let supervisor = Supervisor::new(clock.clone());
    let (sender, rows) = unbounded_channel();
    let stop = supervisor.stop();
    let set = MetricSet::new(vec![GAUGE.metric("tick", &[])]).expect("a set");
    supervisor.spawn("sampler", dsmil_runtime::supervise::OnFailure::Stop, async move {
        let source = Echo { clock: clock.clone(), set: Arc::new(set) };
        run(&clock, &stop, source, |row, missed| {
            let _ = sender.send((row, missed));
        })
        .await;
        Ok::<(), std::convert::Infallible>(())
    });
    Ticker { time, rows, supervisor }
}

impl Ticker {
    async fn row(&mut self) -> (u64, Option<(u64, u64)>) {
        let (row, missed) = self.rows.recv().await.expect("the sampler runs");
        (row.tick.0, missed.map(|range| (range.first.0, range.last.0)))
    }

    /// Lets the sampler do all it can without time passing.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_tick_is_a_whole_second_sampled_once() {
    let mut t = ticker(Duration::from_millis(100_250));
    t.settle().await;
    assert!(t.rows.try_recv().is_err(), "second 100 may have been sampled before a restart");
    t.time.advance(Duration::from_millis(749));
    t.settle().await;
    assert!(t.rows.try_recv().is_err(), "0.999 is no whole second");
    t.time.advance(Duration::from_millis(1));
    assert_eq!(t.row().await, (101, None));
    t.time.advance(Duration::from_millis(999));
    t.settle().await;
    assert!(t.rows.try_recv().is_err(), "once a second");
    t.time.advance(Duration::from_millis(1));
    assert_eq!(t.row().await, (102, None));
}

#[tokio::test]
async fn missed_seconds_are_named() {
    let mut t = ticker(Duration::from_secs(10));
    t.settle().await;
    t.time.advance(Duration::from_secs(4));
    assert_eq!(t.row().await, (14, None), "before the first tick nothing is missed");
    t.settle().await;
    t.time.advance(Duration::from_millis(3_600_700));
    assert_eq!(t.row().await, (3614, Some((15, 3613))), "a suspended hour");
    t.settle().await;
    t.time.advance(Duration::from_millis(300));
    assert_eq!(t.row().await, (3615, None), "and back to the whole second");
    t.supervisor.request_stop();
    assert!(t.rows.recv().await.is_none(), "it ends when told to");
}

#[tokio::test]
async fn this_host_in_rows() {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let root = Arc::new(Root::host().expect("a Linux host"));
    let mut source = HostSource::new(clock, &supervisor, root, all());
    let rows = [source.collect(Tick(1)).await, source.collect(Tick(2)).await];
    assert!(rows[1].set.metrics().len() > 100, "{}", rows[1].set.metrics().len());
    assert!(rows.iter().all(|row| row.values.len() == row.set.metrics().len()));
    let uptime = value(&rows[1], "dsmil_uptime_seconds");
    assert!(uptime >= value(&rows[0], "dsmil_uptime_seconds") && uptime.is_some());
}

/// Settings under which a stage samples, to be changed.
fn following(stage: &mut Stage, values: Values) -> watch::Sender<Arc<Values>> {
    let settings = watch::Sender::new(Arc::new(values));
    stage.source.follow(settings.subscribe());
    settings
}

#[tokio::test]
async fn a_sensor_with_an_interval_is_absent_in_between_and_one_that_is_off_is_gone() {
    let mut s = stage(&["slow", "off", "each"]);
    let sensors = vec![("off".to_owned(), SensorSetting::Off), ("each".to_owned(), SensorSetting::EveryS(1))];
    let settings = following(&mut s, Values { interval_s: Some(5), sensors, ..Values::default() });
    let mut set = None;
    for tick in 11..=20 {
        // The first tick has everybody, so that the set is whole from then on.
        let is_due = tick == 11 || tick % 5 == 0;
        // Who is asked without being told what to do hangs, and the deadline would have to pass.
        if is_due {
            s.hands[0].send(push(&[("s", tick)])).expect("a sensor");
        }
        s.hands[2].send(push(&[("e", tick)])).expect("a sensor");
        let row = s.tick(tick, 0).await;
        assert_eq!((value(&row, "s"), value(&row, "e")), (is_due.then_some(tick), Some(tick)));
        let success = |name: &str| value(&row, &format!("node_scrape_collector_success{{collector=\"{name}\"}}"));
        assert_eq!((success("slow"), success("off"), success("each")), (is_due.then_some(1), None, Some(1)));
        assert!(!row.set.metrics().iter().any(|metric| metric.name == "o"), "it has no column");
        let set = set.get_or_insert_with(|| Arc::clone(&row.set));
        assert!(Arc::ptr_eq(set, &row.set), "resting does not change the set");
    }
    settings.send_replace(Arc::default());
    let acts = [push(&[("s", 1)]), push(&[("o", 2)]), push(&[("e", 3)])];
    s.hands.iter().zip(acts).for_each(|(hand, act)| hand.send(act).expect("a sensor"));
    let row = s.tick(21, 0).await;
    assert_eq!(["s", "o", "e"].map(|name| value(&row, name)), [Some(1), Some(2), Some(3)], "and all are back");
    let sensors = vec![("each".to_owned(), SensorSetting::Off)];
    settings.send_replace(Arc::new(Values { sensors, ..Values::default() }));
    s.hands[0].send(push(&[("s", 1)])).expect("a sensor");
    s.hands[1].send(push(&[("o", 2)])).expect("a sensor");
    let row = s.tick(22, 0).await;
    assert!(!row.set.metrics().iter().any(|metric| metric.name == "e"), "its columns go when it is turned off");
    assert_eq!((value(&row, "s"), value(&row, "o")), (Some(1), Some(2)));
}

/// Asks at one tick and has the answer two ticks later.
struct Asking(u64);

impl Sensor for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn source(&self) -> &'static str {
        "a test"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn expects_answer(&self) -> bool {
        !self.0.is_multiple_of(3)
    }

    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), SensorError> {
        self.0 += 1;
        out.push("answer", &[], GAUGE, (!self.expects_answer()).then_some(self.0));
        Ok(())
    }
}

#[tokio::test]
async fn a_sensor_that_expects_an_answer_is_read_until_it_has_it_whatever_its_interval() {
    let (clock, _time) = Clock::manual();
    let supervisor = Supervisor::new(clock.clone());
    let mut source =
        HostSource::new(clock, &supervisor, Arc::new(Tree::new().root()), vec![Box::new(Asking(0)) as Box<dyn Sensor>]);
    let mut seen = Vec::new();
    for tick in 14..34 {
        let row = source.collect(Tick(tick)).await;
        if value(&row, "node_scrape_collector_success{collector=\"asking\"}").is_some() {
            seen.push((tick, value(&row, "answer")));
        }
    }
    let expected = [14, 20, 30].into_iter().zip([3, 6, 9]);
    let expected: Vec<_> =
        expected.flat_map(|(tick, answer)| [(tick, None), (tick + 1, None), (tick + 2, Some(answer))]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_sensor_that_is_read_one_tick_in_ten_costs_a_fraction_of_its_bytes() {
    const METRICS: [&str; 20] = [
        "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7",
        "n8", "n9",
    ];
    let mut bytes = Vec::new();
    for interval in [1, 10] {
        let mut s = stage(&["busy"]);
        let _settings = following(&mut s, Values { interval_s: Some(interval), ..Values::default() });
        let mut rows = Vec::new();
        for tick in 10..20 {
            if tick % u64::from(interval) == 0 {
                // Numbers in which nothing repeats.
                let noise = |at: usize| (tick * 31 + at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
                let metrics: Vec<_> = METRICS.iter().enumerate().map(|(at, name)| (*name, noise(at))).collect();
                s.hands[0].send(Act::Push(metrics)).expect("a sensor");
            }
            rows.push(s.tick(tick, 0).await);
        }
        let (set, metrics) = (rows[0].set.id(), rows[0].values.len());
        assert!(rows.iter().all(|row| row.set.id() == set), "one set, one batch");
        let stamps = rows.iter().map(|row| Stamp { tick: row.tick, wall_ms: row.wall_ms }).collect();
        let header = BatchHeader { boot: BootId([1; 16]), set, metrics, stamps };
        let mut matrix = Matrix::new(metrics, rows.len());
        for (t, row) in rows.iter().enumerate() {
            row.values.iter().enumerate().for_each(|(metric, value)| matrix.set(metric, t, *value));
        }
        bytes.push(encode(&Batch { header, matrix }).expect("a batch").len());
    }
    println!("a batch of 10 ticks: {} bytes each second, {} bytes one second in ten", bytes[0], bytes[1]);
    assert!(bytes[1] * 4 < bytes[0], "{bytes:?}");
}

/// Works for a while at each reading.
struct Costly(Arc<std::sync::atomic::AtomicU64>);

impl Sensor for Costly {
    fn name(&self) -> &'static str {
        "costly"
    }

    fn source(&self) -> &'static str {
        "a test"
    }

    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let clock = Clock::real();
        let begin = clock.thread_cpu();
        while clock.thread_cpu() - begin < Duration::from_millis(25) {
            std::hint::spin_loop();
        }
        out.push("x", &[], GAUGE, Some(1));
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn a_sensor_that_costs_much_is_read_as_often_as_a_hundredth_of_a_core_pays_for() {
    let (clock, supervisor) = (Clock::real(), Supervisor::new(Clock::real()));
    let readings = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let sensors = vec![Box::new(Costly(Arc::clone(&readings))) as Box<dyn Sensor>];
    let mut source = HostSource::new(clock, &supervisor, Arc::new(Tree::new().root()), sensors);
    for tick in 1..=24 {
        source.collect(Tick(tick)).await;
        source.until_answered().await;
    }
    // At 1, and then each third or fourth: 25 ms and what a debug build adds.
    let readings = readings.load(std::sync::atomic::Ordering::Relaxed);
    assert!((6..=9).contains(&readings), "{readings} readings in 24 ticks");
}
