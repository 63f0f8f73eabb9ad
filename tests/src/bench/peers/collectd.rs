//! collectd, with Debian's choice of plugins, and Graphite's lines as its way out.

use super::package::Found;
use super::place::Place;
use super::program::PeerProgram;
use super::rig::Home;
use std::fmt::Write;
use std::net::SocketAddr;

/// What it reads: all that Debian's configuration turns on, but for the battery, which servers have not.
const READS: [&str; 11] =
    ["cpu", "df", "disk", "entropy", "interface", "irq", "load", "memory", "processes", "swap", "users"];
/// What writes, and what logs.
const OTHERS: [&str; 2] = ["write_graphite", "logfile"];
/// What it calls this host.
const HOST: &str = "h1";
/// A series of which it makes a sample each second.
pub(super) const JUDGED: &str = "{__name__=\"h1.load.load.shortterm\"}";

/// collectd, which sends to `graphite`. It is not started.
pub(super) fn collectd<'f>(
    found: &Found,
    home: &Home<'f>,
    place: &Place,
    graphite: SocketAddr,
) -> anyhow::Result<PeerProgram<'f>> {
    let path = home.take(&found.path("usr/sbin/collectd"))?;
    let types = home.take(&found.path("usr/share/collectd/types.db"))?;
    for plugin in READS.iter().chain(&OTHERS) {
        home.take(&found.path(&format!("usr/lib/collectd/{plugin}.so")))?;
    }
    let data = home.data("collectd-data")?;
    // Beside the program.
    let plugins = path.with_file_name("");
    let mut config = format!(
        "Hostname \"{HOST}\"\nFQDNLookup false\nInterval 1\nBaseDir \"{}\"\nPIDFile \"{}\"\nPluginDir \"{}\"\nTypesDB \"{}\"\n",
        data.display(),
        data.join("pid").display(),
        plugins.display(),
        types.display()
    );
    config.push_str("LoadPlugin logfile\n<Plugin logfile>\n  LogLevel info\n  File STDERR\n</Plugin>\n");
    for plugin in READS {
        // Writing to a String cannot fail.
        let _ = writeln!(config, "LoadPlugin {plugin}");
    }
    let (host, port) = (graphite.ip(), graphite.port());
    let _ = writeln!(
        config,
        "LoadPlugin write_graphite\n<Plugin write_graphite>\n  <Node \"backend\">\n    Host \"{host}\"\n    Port \"{port}\"\n    Protocol \"tcp\"\n  </Node>\n</Plugin>"
    );
    let config = home.write("collectd.conf", &config)?;
    let args = vec!["-f".into(), "-C".into(), config.into_os_string()];
    Ok(PeerProgram::new(home.rig.fleet.launcher(), place, "collectd", path, args))
}
