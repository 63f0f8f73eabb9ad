//! Programs that behave and programs that do not, all of them /bin/sh.

use super::*;

const SHELL: &str = "/bin/sh";
const LIMITS: Limits = Limits { deadline: Duration::from_secs(20), max_output: 100_000 };
/// For programs that never end: each test waits for it once.
const SHORT: Limits = Limits { deadline: Duration::from_millis(300), max_output: 100_000 };

fn runner() -> Runner {
    Runner::new(Clock::real())
}

fn sh(script: &str, limits: Limits) -> Result<Output, Fault> {
    runner().run(SHELL.as_ref(), &["-c", script], limits)
}

fn is_hung(outcome: &Result<Output, Fault>) -> bool {
    matches!(outcome, Err(Fault::Hung { .. }))
}

/// Whether a process that was killed is gone, or is on its way out and gets there: on a busy machine that takes its time.
fn ends(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process id");
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(error) => error == Errno::SRCH,
        Ok(end) => {
            let mut fds = [PollFd::new(&end, PollFlags::IN)];
            wait(&mut fds, LIMITS.deadline).expect("it can be waited for");
            !fds[0].revents().is_empty()
        }
    }
}

#[test]
fn what_a_program_prints_and_how_it_ends_is_taken() {
    let output = sh("echo out; echo err >&2; exit 7", LIMITS).expect("a shell");
    assert_eq!(output, Output { code: Some(7), stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() });
    let silent = sh("", LIMITS).expect("a shell");
    assert_eq!(silent, Output { code: Some(0), stdout: Vec::new(), stderr: Vec::new() });
    assert_eq!(sh("kill -9 $$", LIMITS).expect("a shell").code, None);
    let long = sh("head -c 100000 /dev/zero", LIMITS).expect("a shell");
    assert_eq!((long.code, long.stdout.len()), (Some(0), 100_000), "more than a pipe holds, and just what it may");
}

#[test]
fn a_program_gets_nothing_of_our_surroundings() {
    let output = sh("env; cat; pwd; ls -d nonsense", LIMITS).expect("a shell");
    let said = String::from_utf8(output.stdout).expect("text");
    let mut said: Vec<_> = said.lines().filter(|line| !line.starts_with('_')).collect();
    said.sort_unstable();
    assert_eq!(said, ["/", "LC_ALL=C", &format!("PATH={SEARCH}"), "PWD=/", "TZ=UTC"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"), "it speaks English");
    assert_eq!(runner().run("env".as_ref(), &[], LIMITS).expect("found by its name").code, Some(0));
}

#[test]
fn one_that_is_not_there_or_may_not_be_run_is_named() {
    let missing = Fault::ProgramMissing { program: Text::of("dsmil-no-such-program") };
    assert_eq!(runner().run("dsmil-no-such-program".as_ref(), &[], LIMITS), Err(missing));
    let missing = Fault::ProgramMissing { program: Text::of("/nonexistent/busctl") };
    assert_eq!(runner().run("/nonexistent/busctl".as_ref(), &[], LIMITS), Err(missing));
    let forbidden = Fault::NoPermission { to: Text::of("/etc/passwd") };
    assert_eq!(runner().run("/etc/passwd".as_ref(), &[], LIMITS), Err(forbidden));
}

#[test]
fn one_that_prints_too_much_is_ended() {
    let failed = Fault::ProgramFailed { what: Text::of("sh: it prints more than 100000 bytes") };
    assert_eq!(sh("head -c 100001 /dev/zero", LIMITS), Err(failed.clone()));
    assert_eq!(sh("cat /dev/zero", LIMITS), Err(failed));
    let complains = sh("head -c 1000000 /dev/zero >&2", LIMITS).expect("a shell");
    assert_eq!((complains.code, complains.stderr.len()), (Some(0), MAX_COMPLAINT_LEN), "the rest is let go");
}

#[test]
fn one_that_does_not_end_in_its_time_is_said_with_its_state_and_ended_with_all_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids = folder.path().join("pids");
    let script = format!("sleep 1000 & echo $$ $! >{}; wait", pids.display());
    let outcome = sh(&script, Limits { deadline: Duration::from_secs(2), ..LIMITS });
    assert!(matches!(outcome, Err(Fault::Hung { for_s: 2.., state: Some('S'), .. })), "{outcome:?}");
    let pids = std::fs::read_to_string(&pids).expect("it was written long before");
    assert_eq!(pids.split_whitespace().count(), 2);
    for pid in pids.split_whitespace() {
        assert!(ends(pid), "{pid} was not ended");
    }
    assert!(is_hung(&sh("trap '' TERM; while :; do :; done", SHORT)), "it ignores what is asked of it");
    assert!(is_hung(&sh("exec >&- 2>&-; sleep 1000", SHORT)), "it has closed both pipes");
    assert!(is_hung(&sh("kill -STOP $$", SHORT)), "it stands still");
}

#[test]
fn what_a_program_leaves_behind_is_ended_and_not_waited_for() {
    let output = sh("sleep 1000 & echo done", LIMITS).expect("a shell");
    assert_eq!((output.code, output.stdout.as_slice()), (Some(0), b"done\n".as_slice()));
}

#[test]
fn while_too_many_cannot_be_killed_no_more_are_started() {
    let mut runner = runner();
    let sleeper = || spawn(SHELL.as_ref(), &["-c", "exec sleep 1000"]).expect("a shell");
    // As if killing had not helped.
    runner.left.extend((0..MAX_LEFT).map(|_| Left { child: sleeper(), since: Duration::ZERO }));
    assert!(matches!(runner.run(SHELL.as_ref(), &["-c", ""], LIMITS), Err(Fault::Hung { for_s: 1.., .. })));
    runner.left[3].child.kill().expect("it can be killed");
    runner.left[3].child.wait().expect("it has ended");
    assert_eq!(runner.run(SHELL.as_ref(), &["-c", ""], LIMITS).expect("there is room").code, Some(0));
    assert_eq!(runner.left.len(), MAX_LEFT - 1, "that one is taken leave of");
    for left in &mut runner.left {
        left.child.kill().expect("it can be killed");
        left.child.wait().expect("it has ended");
    }
}

#[test]
fn a_failure_is_said_in_the_programs_own_words() {
    let of = |script| sh(script, LIMITS).expect("a shell").of_success(SHELL.as_ref());
    assert_eq!(of("echo 1"), Ok(b"1\n".to_vec()));
    let failed = |what| Err(Fault::ProgramFailed { what: Text::of(what) });
    assert_eq!(of("echo 'no bus' >&2; echo more >&2; exit 1"), failed("sh: no bus"));
    assert_eq!(of("exit 3"), failed("sh: it ended with 3"));
    assert_eq!(of("kill -9 $$"), failed("sh: a signal ended it"));
}
