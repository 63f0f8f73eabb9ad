//! Who and where this host is, as far as it says so itself: what the scrubber knows before it reads anything.

use super::scrub::Kind;
use dsmil_agent::config::{AgentConfig, CredentialFacts};
use dsmil_agent::spool::Inspection;
use dsmil_agent::status::{SpoolReport, Status};
use dsmil_sensors::root::Root;
use std::net::IpAddr;
use std::path::Path;

/// Bytes of a file of /etc that are read.
const MAX_LEN: usize = 256 << 10;
/// Users of people begin with this number (login.defs(5), UID_MIN), and end before those of containers.
const PEOPLE: std::ops::Range<u32> = 1_000..60_000;
/// Serial numbers shorter than this are words that makers put in their place.
const SERIAL_LEN: usize = 4;

/// Everything that is known.
pub(super) fn known(
    config: Option<&AgentConfig>,
    status: Option<&Status>,
    spool: Option<&SpoolReport>,
    left: Option<&Inspection>,
) -> Vec<(Kind, String)> {
    let mut all = Vec::new();
    if let Some(config) = config {
        of_config(config, &mut all);
    }
    if let Some(status) = status {
        of_status(status, &mut all);
    }
    let spools = spool.into_iter().chain(left.map(|left| &left.spool));
    all.extend(spools.flat_map(|spool| &spool.boots).map(|boot| (Kind::Boot, boot.boot.clone())));
    of_machine(&mut all);
    all
}

fn of_config(config: &AgentConfig, all: &mut Vec<(Kind, String)>) {
    all.push((Kind::Host, config.host.to_string()));
    all.push((Kind::Tenant, config.tenant.to_string()));
    for address in config.aggregators.iter().chain(&config.join) {
        all.extend(address_host(address).map(|name| (Kind::Name, name)));
    }
    let CredentialFacts { identity, trust } = config.credentials();
    if let Ok(identity) = identity {
        all.push((Kind::Key, identity.key));
    }
    if let Ok(trust) = trust {
        all.push((Kind::Fleet, trust.trust_domain));
        all.extend(trust.roots.into_iter().map(|root| (Kind::Key, root)));
    }
}

fn of_status(status: &Status, all: &mut Vec<(Kind, String)>) {
    all.push((Kind::Host, status.host.to_string()));
    all.push((Kind::Tenant, status.tenant.to_string()));
    all.push((Kind::Fleet, status.trust.trust_domain.clone()));
    all.push((Kind::Key, status.identity.key.clone()));
    all.push((Kind::Boot, status.boot.clone()));
    let aggregator = status.link.aggregator.as_deref().and_then(address_host);
    all.extend(aggregator.map(|name| (Kind::Name, name)));
}

/// The name in `host:port`; addresses go by their shape.
fn address_host(address: &str) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    (host.parse::<IpAddr>().is_err()).then(|| host.to_owned())
}

/// What the machine is called by its kernel, its files and its makers.
fn of_machine(all: &mut Vec<(Kind, String)>) {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // The short name of a long one stands alone as well.
    all.extend(node.split_once('.').map(|(short, _)| (Kind::Host, short.to_owned())));
    all.push((Kind::Host, node));
    for name in ["USER", "LOGNAME", "SUDO_USER"] {
        all.extend(std::env::var(name).ok().map(|user| (Kind::User, user)));
    }
    let Ok(root) = Root::host() else { return };
    let mut buffer = Vec::new();
    let mut file = |path: &str| -> String {
        let text = root.file(path, &mut buffer).map(|text| &text[..text.len().min(MAX_LEN)]).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    all.push((Kind::Host, file("etc/hostname")));
    all.push((Kind::Key, file("etc/machine-id")));
    all.extend(people(&file("etc/passwd")).map(|user| (Kind::User, user)));
    all.extend(domains(&file("etc/resolv.conf")).into_iter().map(|name| (Kind::Name, name)));
    all.extend(hosts(&file("etc/hosts")).into_iter().map(|name| (Kind::Name, name)));
    all.extend(root.proc("sys/kernel/random/boot_id", &mut Vec::new()).ok().map(|id| (Kind::Boot, lossy(id))));
    all.extend(serials(&root).into_iter().map(|serial| (Kind::Serial, serial)));
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().to_owned()
}

/// Names of people in a text of the form passwd(5).
fn people(passwd: &str) -> impl Iterator<Item = String> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        PEOPLE.contains(&number).then(|| name.to_owned())
    })
}

/// Domains that resolv.conf(5) searches.
fn domains(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("search ").or_else(|| line.strip_prefix("domain ")));
    lines.flat_map(str::split_whitespace).filter(|name| *name != ".").map(str::to_owned).collect()
}

/// Names in a text of the form hosts(5); those of every machine are nobody's.
fn hosts(text: &str) -> Vec<String> {
    let names = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let names = names.flat_map(|line| line.split_whitespace().skip(1));
    names.filter(|name| !name.starts_with("ip6-") && !name.starts_with("localhost")).map(str::to_owned).collect()
}

/// What makers wrote into board and disks, as far as this user may read it.
fn serials(root: &Root) -> Vec<String> {
    let mut paths: Vec<String> =
        ["product_serial", "product_uuid", "board_serial", "board_asset_tag", "chassis_serial", "chassis_asset_tag"]
            .map(|name| format!("class/dmi/id/{name}"))
            .into();
    for disk in root.list_sys("block").unwrap_or_default() {
        paths.extend(["serial", "wwid", "device/serial", "device/wwid"].map(|name| format!("block/{disk}/{name}")));
    }
    let mut buffer = Vec::new();
    let serial = |path: &String| root.sys(path, &mut buffer).ok().map(lossy);
    paths.iter().filter_map(serial).filter(|serial| serial.len() >= SERIAL_LEN).collect()
}

/// Whether a file is one of keys by its name: none such is taken for a log.
pub(super) fn is_secret(path: &Path) -> bool {
    let ends = ["pem", "key", "bundle", "token"];
    path.extension().and_then(|end| end.to_str()).is_some_and(|end| ends.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_the_system_keeps_them() {
        let passwd = "root:x:0:0::/:\njane:x:1000:1000::/:\nnobody:x:65534:1::/:\nbad\n";
        assert_eq!(people(passwd).collect::<Vec<_>>(), ["jane"]);
        assert_eq!(domains("nameserver 1.2.3.4\nsearch a.example b.example\ndomain .\n"), ["a.example", "b.example"]);
        let text = "127.0.0.1 localhost\n::1 ip6-localhost\n10.0.0.1 gate.a.example gate # x y\n";
        assert_eq!(hosts(text), ["gate.a.example", "gate"]);
        assert_eq!(address_host("agg.example:8100").as_deref(), Some("agg.example"));
        assert_eq!((address_host("[::1]:1"), address_host("10.0.0.1:1")), (None, None));
        assert!(is_secret(Path::new("/x/agent.pem")) && !is_secret(Path::new("/x/agent.toml")));
    }
}
