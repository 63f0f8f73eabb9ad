//! Where the programs of the peers are: in Debian's packages, unpacked or installed, as they are shipped.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says where packages are unpacked, each in a folder of its name; `cargo xtask bench` sets it.
const UNPACKED: &str = "DSMIL_RIVALS";

/// A package of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Package {
    NodeExporter,
    /// With vmagent in it.
    VictoriaMetrics,
    /// With promtool in it.
    Prometheus,
    Collectd,
}

impl Package {
    /// Debian's name for it.
    fn name(self) -> &'static str {
        match self {
            Self::NodeExporter => "prometheus-node-exporter",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Prometheus => "prometheus",
            Self::Collectd => "collectd-core",
        }
    }

    /// A program that whoever has the package has.
    fn program(self) -> &'static str {
        match self {
            Self::NodeExporter => "usr/bin/prometheus-node-exporter",
            Self::VictoriaMetrics => "usr/bin/vmagent",
            Self::Prometheus => "usr/bin/promtool",
            Self::Collectd => "usr/sbin/collectd",
        }
    }

    /// The package, unpacked or else installed; where it is neither, an error that says so.
    pub(super) fn find(self) -> anyhow::Result<Found> {
        let unpacked = std::env::var_os(UNPACKED).map(|folder| Path::new(&folder).join(self.name()));
        let mut roots = unpacked.into_iter().chain([PathBuf::from("/")]);
        let root = roots.find(|root| root.join(self.program()).is_file());
        let root =
            root.with_context(|| format!("{} is not here; `cargo xtask bench` unpacks it if apt can", self.name()))?;
        Ok(Found { package: self, root })
    }
}

/// A package that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    package: Package,
    root: PathBuf,
}

impl Found {
    /// Where a file of it is.
    pub(super) fn path(&self, within: &str) -> PathBuf {
        self.root.join(within)
    }

    /// Its name and version, without Debian's own part of that, from its changelog: not every program tells its own.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let name = self.package.name();
        let log = self.path(&format!("usr/share/doc/{name}/changelog.Debian.gz"));
        let output = Command::new("gzip").arg("-dc").arg(&log).output().context("gzip cannot be started")?;
        ensure!(output.status.success(), "{} cannot be read", log.display());
        let changelog = String::from_utf8_lossy(&output.stdout);
        let version = version(&changelog).with_context(|| format!("{} is no changelog", log.display()))?;
        Ok(version.to_owned())
    }
}

/// The newest version in a Debian changelog (deb-changelog(5): `package (version) distribution; …`), up to upstream's end.
fn version(changelog: &str) -> Option<&str> {
    let (_, rest) = changelog.lines().next()?.split_once('(')?;
    rest.split(['+', '-', ')']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_upstreams() {
        assert_eq!(version("victoria-metrics (1.79.5+ds1-2+b5) sid; urgency=low\n\n  * x (1.0)"), Some("1.79.5"));
        assert_eq!(version("collectd (5.12.0-14) unstable"), Some("5.12.0"));
        assert_eq!(version("no changelog"), None);
    }
}
