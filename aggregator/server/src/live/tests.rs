//! Who is up, down or awaited, on a clock that stands still until it is moved.

use super::*;
use dsmil_runtime::clock::ManualClock;

const SETTINGS: Settings =
    Settings { heartbeat_ms: 2_000, window_batches: 1, backlog_bytes_per_second: 1, reconnect_window_ms: 5_000 };

/// An aggregator with two hosts in its fleet file.
struct Scene {
    live: Live,
    hand: ManualClock,
}

impl Scene {
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        Self { live: Live::new(["a", "b"].map(host), Patience::with(&SETTINGS), clock), hand }
    }

    /// Both hosts come in.
    fn with_both() -> Self {
        let scene = Self::new();
        scene.come("a");
        scene.come("b");
        scene
    }

    fn come(&self, name: &str) {
        self.live.welcomed(&host(name), |_| {});
    }

    fn beat(&self, name: &str) {
        self.live.heard(&host(name), |_| {});
    }

    fn lose(&self, name: &str) {
        self.live.update(&host(name), |now| now.link = Link::Lost);
    }

    /// Time passes while we listen; those named send heartbeats.
    fn listen(&self, ms: u64, beating: &[&str]) {
        for step in 1..=ms / 250 {
            self.hand.advance(LOOK_EVERY);
            if step % 8 == 0 {
                beating.iter().for_each(|name| self.beat(name));
            }
            self.live.look();
        }
    }

    /// Time passes while we are stopped.
    fn away(&self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
    }

    fn standing(&self, name: &str) -> Standing {
        self.live.get(&host(name)).expect("it is in the fleet file").standing
    }

    fn both(&self) -> [Standing; 2] {
        ["a", "b"].map(|name| self.standing(name))
    }
}

fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name")
}

use Standing::{Awaited, Down, Up};

#[test]
fn a_silent_host_is_down_in_time_and_no_sooner() {
    let scene = Scene::with_both();
    scene.listen(4_500, &["b"]);
    assert_eq!(scene.both(), [Up, Up], "two heartbeats may be missing");
    scene.listen(250, &[]);
    assert_eq!(scene.both(), [Down, Up], "within 5 s");
    scene.beat("a");
    assert_eq!(scene.both(), [Up, Up]);
}

#[test]
fn the_wall_clock_decides_nothing() {
    let scene = Scene::with_both();
    for wall in [i64::MAX / 2, 0] {
        scene.hand.set_wall_ns(wall);
        assert_eq!(scene.both(), [Up, Up]);
    }
}

#[test]
fn slower_heartbeats_have_more_time() {
    let slow = Patience::with(&Settings { heartbeat_ms: 10_000, ..SETTINGS });
    assert_eq!(slow.silence, Duration::from_millis(20_500));
}

#[test]
fn after_a_start_hosts_are_awaited_until_they_could_have_come() {
    let scene = Scene::new();
    assert_eq!(scene.both(), [Awaited, Awaited]);
    scene.come("b");
    scene.listen(34_750, &["b"]);
    assert_eq!(scene.both(), [Awaited, Up]);
    scene.listen(250, &["b"]);
    assert_eq!(scene.both(), [Down, Up]);
}

#[test]
fn a_host_that_was_refused_or_said_goodbye_is_not_awaited() {
    let scene = Scene::with_both();
    scene.live.update(&host("a"), |now| now.link = Link::Refused { code: ErrorCode::Revoked });
    scene.live.update(&host("b"), |now| now.link = Link::Closed { why: "it said goodbye".into() });
    assert_eq!(scene.both(), [Down, Down]);
    scene.away(60);
    assert_eq!(scene.both(), [Down, Down], "and no absence of ours changes that");
}

#[test]
fn a_connection_that_is_lost_while_we_listen_means_that_the_host_is_down() {
    let scene = Scene::with_both();
    scene.listen(60_000, &["a", "b"]);
    scene.lose("a");
    assert_eq!(scene.both(), [Down, Up]);
}

#[test]
fn nobody_is_down_because_we_were_away() {
    let scene = Scene::with_both();
    scene.listen(60_000, &["a", "b"]);
    scene.away(60);
    assert_eq!(scene.both(), [Awaited, Awaited], "asked before anybody has looked");
    // What waited in the socket is read: heartbeats from before the agents gave up, then the end of their connections.
    scene.beat("a");
    assert_eq!(scene.both(), [Up, Awaited]);
    scene.listen(250, &[]);
    scene.lose("a");
    scene.lose("b");
    scene.listen(20_000, &[]);
    assert_eq!(scene.both(), [Awaited, Awaited]);
    scene.come("a");
    scene.listen(20_000, &["a"]);
    assert_eq!(scene.both(), [Up, Down], "one came back, the other could have");
}

/// Which task runs first after an absence is the scheduler's to say: here, one that finds a connection gone.
#[test]
fn what_is_first_learnt_after_an_absence_makes_nobody_dead() {
    let scene = Scene::with_both();
    scene.listen(2_000, &["a", "b"]);
    scene.away(10);
    scene.lose("a");
    assert_eq!(scene.both(), [Awaited, Awaited]);
    scene.come("a");
    assert_eq!(scene.both(), [Up, Awaited]);
}

#[test]
fn a_session_that_outlives_our_absence_is_judged_like_any_other() {
    let scene = Scene::with_both();
    scene.away(6);
    scene.listen(8_000, &["a"]);
    assert_eq!(scene.both(), [Up, Awaited]);
    scene.listen(5_000, &[]);
    assert_eq!(scene.both(), [Down, Awaited], "its last heartbeats were sent after we were back");
}

#[test]
fn who_was_down_before_is_down_afterwards() {
    let scene = Scene::with_both();
    scene.listen(10_000, &["a"]);
    assert_eq!(scene.both(), [Up, Down]);
    scene.away(60);
    assert_eq!(scene.both(), [Awaited, Down]);
}

#[test]
fn going_away_again_and_again_makes_nobody_dead() {
    let scene = Scene::with_both();
    for _ in 0..5 {
        scene.away(60);
        scene.listen(6_000, &[]);
        assert_eq!(scene.both(), [Awaited, Awaited]);
        scene.away(3);
    }
}

#[test]
fn short_pauses_hide_nothing_for_long() {
    let scene = Scene::with_both();
    // Starved: a look every second instead of four.
    for _ in 0..9 {
        scene.hand.advance(Duration::from_secs(1));
        scene.live.look();
    }
    assert_eq!(scene.both(), [Up, Up]);
    scene.hand.advance(Duration::from_secs(1));
    scene.live.look();
    assert_eq!(scene.both(), [Down, Down]);
}

#[test]
fn whoever_the_fleet_file_names_later_is_not_awaited() {
    let scene = Scene::new();
    scene.live.update(&host("c"), |_| {});
    assert_eq!(scene.standing("c"), Down);
}
