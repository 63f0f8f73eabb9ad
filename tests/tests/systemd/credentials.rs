//! Secrets that systemd passes (`LoadCredential=`), read as root and for this one service.

use crate::fleet::Fleet;
use crate::main_pid;
use anyhow::ensure;

const UNIT: &str = "\
[Service]
LoadCredential=https.pem:/etc/ssl/site/https.pem
LoadCredential=https.key:/etc/ssl/site/https.key
";
const CONFIGURATION: &str = "\
[identity]
https_certificate = \"credential:https.pem\"
https_key = \"credential:https.key\"
";

#[tokio::test]
async fn long_the_https_key_comes_as_a_credential() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    fleet.streams(5).await?;
    machine.run(
        "install --directory --mode 700 /etc/ssl/site && mv /var/lib/dsmil/aggregator/identity/https.* /etc/ssl/site",
    )?;
    machine.run("chown root: /etc/ssl/site/* && mkdir /etc/systemd/system/dsmil-aggregator.service.d")?;
    machine.run(&format!("printf %s '{UNIT}' > /etc/systemd/system/dsmil-aggregator.service.d/https.conf"))?;
    machine.run(&format!("printf %s '{CONFIGURATION}' > /etc/dsmil/aggregator.toml.d/https.toml"))?;
    // Without systemd's help it says what is missing; with it, it runs.
    let alone = machine.outcome("setpriv --reuid dsmil-aggregator --clear-groups dsmil-aggregator check 2>&1")?;
    let said = String::from_utf8_lossy(&alone.stdout).into_owned();
    ensure!(!alone.status.success() && said.contains("CREDENTIALS_DIRECTORY"), "{said}");
    machine.run("systemctl daemon-reload && systemctl restart dsmil-aggregator")?;
    // The API is asked for how many ticks there are: it has a certificate.
    fleet.streams(10).await?;
    let pid = main_pid(machine, "dsmil-aggregator")?;
    ensure!(!machine.run(&format!("tr '\\0' '\\n' < /proc/{pid}/environ"))?.contains("PRIVATE KEY"));
    fleet.accounts_for_every_tick().await?;
    Ok(())
}
