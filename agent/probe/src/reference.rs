//! What each kind can report, for the reference of all metrics: examples that have everything, read by the code that reads
//! what is real.

use dsmil_protocol::metric::Metric;
use dsmil_protocol::probe::ProbeKind;
use dsmil_sensors::Reading;

/// The metrics of a kind.
pub fn metrics(kind: ProbeKind) -> Vec<Metric> {
    let mut reading = Reading::new();
    reading.begin();
    match kind {
        ProbeKind::Nvml => crate::nvml::example(&mut reading),
        ProbeKind::Rapl => crate::rapl::example(&mut reading),
        ProbeKind::Kmsg => crate::kmsg::example(&mut reading),
        ProbeKind::Fdinfo => crate::fdinfo::example(&mut reading),
        ProbeKind::Smart => crate::smart::example(&mut reading),
        ProbeKind::Systemd => crate::systemd::example(&mut reading),
    }
    reading.complete();
    reading.metrics().cloned().collect()
}
