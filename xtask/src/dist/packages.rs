//! What is in each package: a table.

use anyhow::Context;

use crate::{probe, workspace};

/// Where commands are.
const BIN: &str = "usr/bin";

/// A package and all that it has of its own. Program, documents and manual page follow from its name.
#[derive(Debug)]
pub(super) struct Package {
    /// Of the package, its program and the crate.
    pub(super) name: &'static str,
    /// The profile of Cargo.toml that its program is shipped in.
    pub(super) profile: &'static str,
    /// The folder of its program on a host.
    pub(super) place: &'static str,
    /// Whether its program needs nothing of the host.
    pub(super) is_static: bool,
    /// How many bytes its program may have.
    pub(super) limit: Option<u64>,
    /// One line.
    pub(super) summary: &'static str,
    /// More about it, in lines of less than 80 characters.
    pub(super) description: &'static [&'static str],
    /// Packages that it is of no use without.
    pub(super) depends: &'static [&'static str],
    /// Packages of this release that one would want with it.
    pub(super) recommends: &'static [&'static str],
    /// Others' packages that some of it needs. No more than suggested: apt refuses all of an installation when it cannot fetch what is
    /// recommended, and hosts without a network are what this is for.
    pub(super) suggests: &'static [&'static str],
    /// Whether it has the public key of the release, to check the next one with.
    pub(super) keeps_key: bool,
    /// What runs all the time.
    pub(super) daemon: Option<Daemon>,
    /// What systemd starts when it is asked: units, and a folder of scripts within those of the formats.
    pub(super) on_demand: Option<OnDemand>,
}

/// What a package has because systemd starts its program when somebody asks.
#[derive(Debug)]
pub(super) struct OnDemand {
    /// Files of the repository, and where they go.
    pub(super) files: &'static [File],
    /// Where its scripts are, below packaging/deb and packaging/rpm.
    pub(super) scripts: &'static str,
}

/// What a package has because its program is run by systemd.
#[derive(Debug)]
pub(super) struct Daemon {
    /// What names its files and folders: `/etc/dsmil/ROLE.toml`, `/var/lib/dsmil/ROLE`, `/mnt/dsmil-ram/ROLE`.
    pub(super) role: &'static str,
    /// Its user, and the group of that name.
    pub(super) user: &'static str,
    /// The unit that mounts its memory.
    pub(super) mount: &'static str,
    /// Files of the repository, and where they go.
    pub(super) files: &'static [File],
    /// Its configuration, whoever writes it: gone when the package is purged.
    pub(super) configuration: &'static [&'static str],
    /// Folders that are there from the start, for whoever configures it.
    pub(super) folders: &'static [&'static str],
}

/// A file that is shipped as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// In the repository.
    pub(super) from: &'static str,
    /// On the host, without the leading slash.
    pub(super) to: &'static str,
    /// Its permissions.
    pub(super) mode: u32,
}

const fn file(from: &'static str, to: &'static str) -> File {
    File { from, to, mode: 0o644 }
}

const fn program(from: &'static str, to: &'static str) -> File {
    File { from, to, mode: 0o755 }
}

/// What probes of a kind may do beyond all of them.
macro_rules! rights {
    ($kind:literal) => {
        file(
            concat!("systemd/dsmil-probe@", $kind, ".service.d/rights.conf"),
            concat!("usr/lib/systemd/system/dsmil-probe@", $kind, ".service.d/rights.conf"),
        )
    };
}

/// All packages.
pub(super) const PACKAGES: [Package; 4] = [
    Package {
        name: "dsmil-agent",
        profile: workspace::SMALL,
        place: BIN,
        is_static: true,
        // The project's target for a program that lives on every host.
        limit: Some(12_000_000),
        summary: "samples this host once a second for a DSMIL fleet",
        description: &[
            "The agent reads the kernel's figures once a second, keeps every tick in memory",
            "until it is acknowledged, and sends it to an aggregator over QUIC with",
            "post-quantum keys only. It runs as a user of its own without capabilities.",
            "",
            "A host becomes one of a fleet by \"dsmil-agent join TOKEN\"; until then nothing",
            "runs.",
        ],
        depends: &[],
        recommends: &["dsmil-probe", "dsmilctl"],
        suggests: &[],
        keeps_key: false,
        daemon: Some(AGENT),
        on_demand: None,
    },
    Package {
        name: probe::NAME,
        profile: probe::PROFILE,
        place: "usr/libexec/dsmil",
        is_static: false,
        limit: Some(3_000_000),
        summary: "reads GPUs, energy and the kernel's log for dsmil-agent",
        description: &[
            "What needs rights that the agent does not have, or a vendor's library that",
            "may hang, is read by processes of their own: NVIDIA's GPUs (libnvidia-ml),",
            "the processors' energy counters, faults in the kernel's log. systemd starts",
            "one when the agent asks, each with the least that its reading needs and",
            "without a network.",
        ],
        depends: &["dsmil-agent"],
        recommends: &[],
        // What reads the disks, and the way to systemd for who is not root. Where one is missing, its sensor names it.
        suggests: &["smartmontools", "dbus"],
        keeps_key: false,
        daemon: None,
        on_demand: Some(OnDemand { files: &PROBE, scripts: "probe" }),
    },
    Package {
        name: "dsmil-aggregator",
        profile: "release",
        place: BIN,
        is_static: true,
        limit: None,
        summary: "centre of a DSMIL fleet: takes in, keeps and answers",
        description: &[
            "The aggregator takes in what the agents of a fleet send, writes it to a durable",
            "journal before it acknowledges it, accounts for every tick of every host, and",
            "answers over HTTPS.",
            "",
            "A fleet is begun by \"dsmil-aggregator init\"; until then nothing runs.",
        ],
        depends: &[],
        recommends: &[],
        suggests: &[],
        keeps_key: false,
        daemon: Some(AGGREGATOR),
        on_demand: None,
    },
    Package {
        name: "dsmilctl",
        profile: "release",
        place: BIN,
        is_static: true,
        limit: None,
        summary: "command line of a DSMIL fleet and its hosts",
        description: &[
            "Says how a host's agent is doing, whether it runs or not: identity, trust,",
            "link, spool, sensors and clock. Checks the signatures of packages.",
        ],
        depends: &[],
        recommends: &[],
        suggests: &[],
        keeps_key: true,
        daemon: None,
        on_demand: None,
    },
];

const PROBE: [File; 8] = [
    file("systemd/dsmil-probe@.service", "usr/lib/systemd/system/dsmil-probe@.service"),
    file("systemd/dsmil-probe@.socket", "usr/lib/systemd/system/dsmil-probe@.socket"),
    file("systemd/dsmil-probe.sysusers", "usr/lib/sysusers.d/dsmil-probe.conf"),
    rights!("fdinfo"),
    rights!("kmsg"),
    rights!("nvml"),
    rights!("rapl"),
    rights!("smart"),
];

const AGENT: Daemon = Daemon {
    role: "agent",
    user: "dsmil",
    mount: r"mnt-dsmil\x2dram-agent.mount",
    files: &[
        file("systemd/dsmil-agent.service", "usr/lib/systemd/system/dsmil-agent.service"),
        file(r"systemd/mnt-dsmil\x2dram-agent.mount", r"usr/lib/systemd/system/mnt-dsmil\x2dram-agent.mount"),
        program("systemd/dsmil-agent-generator", "usr/lib/systemd/system-generators/dsmil-agent-generator"),
        file("systemd/dsmil-agent.sysusers", "usr/lib/sysusers.d/dsmil-agent.conf"),
        file("systemd/dsmil-agent.tmpfiles", "usr/lib/tmpfiles.d/dsmil-agent.conf"),
    ],
    configuration: &["/etc/dsmil/agent.toml", "/etc/dsmil/agent.toml.d"],
    folders: &["etc/dsmil", "etc/dsmil/agent.toml.d"],
};

const AGGREGATOR: Daemon = Daemon {
    role: "aggregator",
    user: "dsmil-aggregator",
    mount: r"mnt-dsmil\x2dram-aggregator.mount",
    files: &[
        file("systemd/dsmil-aggregator.service", "usr/lib/systemd/system/dsmil-aggregator.service"),
        file(r"systemd/mnt-dsmil\x2dram-aggregator.mount", r"usr/lib/systemd/system/mnt-dsmil\x2dram-aggregator.mount"),
        program("systemd/dsmil-aggregator-generator", "usr/lib/systemd/system-generators/dsmil-aggregator-generator"),
        file("systemd/dsmil-aggregator.sysusers", "usr/lib/sysusers.d/dsmil-aggregator.conf"),
        file("systemd/dsmil-aggregator.tmpfiles", "usr/lib/tmpfiles.d/dsmil-aggregator.conf"),
    ],
    configuration: &["/etc/dsmil/aggregator.toml", "/etc/dsmil/aggregator.toml.d", "/etc/dsmil/fleet.toml"],
    folders: &["etc/dsmil", "etc/dsmil/aggregator.toml.d"],
};

impl Package {
    /// Its files that the repository has as they are.
    pub(super) fn files(&self) -> &'static [File] {
        let on_demand = self.on_demand.as_ref().map_or(&[][..], |units| units.files);
        self.daemon.as_ref().map_or(on_demand, |daemon| daemon.files)
    }

    /// Whether people type its name.
    pub(super) fn is_command(&self) -> bool {
        self.place == BIN
    }

    /// Its script of that name, below the folder of a format's scripts; none if it has no scripts. A daemon's are one text for all,
    /// into which the names of this one are filled.
    pub(super) fn script(&self, folder: &str, name: &str) -> anyhow::Result<Option<String>> {
        let path = match (&self.daemon, &self.on_demand) {
            (Some(_), _) => format!("{folder}/{name}"),
            (None, Some(OnDemand { scripts, .. })) => format!("{folder}/{scripts}/{name}"),
            (None, None) => return Ok(None),
        };
        let path = workspace::root().join(path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(self.daemon.as_ref().map_or(text.clone(), |daemon| self.fill(daemon, &text))))
    }

    /// The folder of its documents, on a host.
    pub(super) fn documents(&self) -> String {
        format!("usr/share/doc/{}", self.name)
    }

    /// The lines of a file about all packages that are about this one, as `NAME: …`.
    pub(super) fn lines_of(&self, text: &str) -> String {
        let ours = text.lines().filter(|line| line.strip_prefix(self.name).is_some_and(|rest| rest.starts_with(':')));
        ours.map(|line| format!("{line}\n")).collect()
    }

    /// Fills the names of this package into a script for all daemons.
    fn fill(&self, daemon: &Daemon, script: &str) -> String {
        let configuration: Vec<_> = daemon.configuration.iter().map(|path| format!("'{path}'")).collect();
        let names = [
            ("@package@", self.name),
            ("@role@", daemon.role),
            ("@user@", daemon.user),
            ("@mount@", daemon.mount),
            ("@configuration@", &configuration.join(" ")),
        ];
        names.iter().fold(script.to_owned(), |script, (place, name)| script.replace(place, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    /// Units of programs that do not exist yet.
    const LATER: [&str; 1] = ["systemd/dsmil-actuator."];

    fn files() -> impl Iterator<Item = File> {
        PACKAGES.iter().flat_map(Package::files).copied()
    }

    #[test]
    fn every_file_of_systemd_is_in_exactly_one_package_and_all_of_them_exist() {
        let mut there = tree::files(workspace::root()).unwrap();
        there.retain(|path| path.starts_with("systemd/") && !LATER.iter().any(|later| path.starts_with(later)));
        let mut shipped: Vec<_> = files().map(|file| file.from.to_owned()).collect();
        shipped.sort();
        assert_eq!(shipped, there);
        let mut places: Vec<_> = files().map(|file| file.to).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), shipped.len(), "two files for one place");
    }

    #[test]
    fn what_the_units_and_users_say_is_what_the_table_says() {
        for package in &PACKAGES {
            let Some(daemon) = &package.daemon else { continue };
            let read = |path: String| std::fs::read_to_string(workspace::root().join(path)).unwrap();
            let unit = read(format!("systemd/{}.service", package.name));
            assert!(unit.contains(&format!("\nUser={}\n", daemon.user)), "{unit}");
            assert!(unit.contains(&format!("\nExecStart=/usr/bin/{} run\n", package.name)), "{unit}");
            assert!(unit.contains(&format!("\nStateDirectory=dsmil/{}\n", daemon.role)), "{unit}");
            assert!(unit.contains(&format!("\nConditionPathExists=/etc/dsmil/{}.toml\n", daemon.role)), "{unit}");
            let documentation = format!("\nDocumentation=file:///{}/installation.md\n", package.documents());
            assert!(unit.contains(&documentation), "{unit}");
            let mount = read(format!("systemd/{}", daemon.mount));
            assert!(mount.contains(&format!("\nWhere=/mnt/dsmil-ram/{}\n", daemon.role)), "{mount}");
            assert!(read(format!("systemd/{}.sysusers", package.name)).contains(&format!("\nu {} - ", daemon.user)));
        }
    }

    #[test]
    fn descriptions_fit_a_screen() {
        for package in &PACKAGES {
            assert!(package.summary.len() <= 60 && !package.summary.ends_with('.'), "{}", package.summary);
            assert!(package.description.iter().all(|line| line.len() < 80), "{}", package.name);
        }
    }
}
