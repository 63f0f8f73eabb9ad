//! The agent's service, as systemd tells it.

use super::super::facts::Unit;
use super::command;
use dsmil_runtime::clock::Clock;
use std::path::Path;

/// There while systemd is the one that runs the services (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
const UNIT: &str = "dsmil-agent.service";
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,Result,UnitFileState,ConditionResult,NRestarts,\
                          MemoryCurrent,MemoryMax";
/// Bytes of the answer: some hundred.
const MAX_LEN: usize = 16 << 10;

/// The service; nothing where systemd does not run the services, or does not answer.
pub(in super::super) async fn unit(clock: &Clock) -> Option<Unit> {
    if !Path::new(BOOTED).is_dir() {
        return None;
    }
    command::run(clock, "systemctl", &["show", UNIT, PROPERTIES], MAX_LEN)
        .await
        .ok()
        .map(|printed| parse(&printed.text))
}

/// `NAME=value` lines.
fn parse(text: &str) -> Unit {
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    // "infinity" and "[not set]" are no numbers.
    let number = |name: &str| value(name).parse::<u64>().ok();
    Unit {
        load: value("LoadState"),
        active: value("ActiveState"),
        sub: value("SubState"),
        result: value("Result"),
        enabled: value("UnitFileState"),
        condition: value("ConditionResult") != "no",
        restarts: number("NRestarts").unwrap_or(0),
        memory: number("MemoryCurrent").zip(number("MemoryMax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let text = "Result=exit-code\nNRestarts=5\nMemoryCurrent=1024\nMemoryMax=2048\nLoadState=loaded\n\
                    ActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\nConditionResult=yes\n";
        let unit = parse(text);
        assert_eq!(
            (unit.active.as_str(), unit.sub.as_str(), unit.result.as_str()),
            ("activating", "auto-restart", "exit-code")
        );
        assert_eq!((unit.restarts, unit.memory, unit.condition), (5, Some((1024, 2048)), true));
        let unit = parse("LoadState=not-found\nMemoryMax=infinity\nMemoryCurrent=[not set]\nConditionResult=no\n");
        assert_eq!((unit.load.as_str(), unit.memory, unit.condition), ("not-found", None, false));
    }
}
