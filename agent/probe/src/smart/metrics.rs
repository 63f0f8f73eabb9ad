//! A disk's figures under smartctl_exporter's names.
//!
//! What the disk does not say is absent, where the exporter says 0. A percentage that may fall and a warning that may go
//! are gauges, where the exporter calls them counters.

use super::report::{Attribute, Flags, Number, Report, ScsiCounters, Speed};
use dsmil_protocol::metric::{Metric, Scale};
use dsmil_sensors::Form;

const COUNT: Form = Form::counter(Scale::ONE);
const PLAIN: Form = Form::gauge(Scale::ONE);
/// An NVMe data unit: a thousand blocks of 512 bytes (NVM Express Base Specification, SMART / Health Information).
const DATA_UNITS: Form = Form::counter(Scale::times(512_000));
/// A SCSI log's unit: 10⁹ bytes, of which smartctl prints three places.
const MEGABYTES: Form = Form::counter(Scale::times(1_000_000));
/// The disk's description, which stays true while nobody asks it.
pub(super) const INFO: &str = "smartctl_device";
/// Attributes taken of a disk: the table on an ATA disk has thirty lines.
const MAX_ATTRIBUTES: usize = 64;
/// Other things of which a disk may have several: temperatures, error logs.
const MAX_OF_A_KIND: usize = 16;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) metric: Metric,
    pub(super) bits: u64,
}

/// All of a disk's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Those that every disk of its kind has.
    pub(super) main: Vec<Figure>,
    /// An ATA disk's table: by far the most.
    pub(super) attributes: Vec<Figure>,
}

/// Puts figures of one disk together.
struct Of<'a> {
    device: &'a str,
    figures: Vec<Figure>,
}

impl Of<'_> {
    fn add(&mut self, name: &str, form: Form, value: Number) {
        self.with(name, &[], form, value);
    }

    fn with(&mut self, name: &str, labels: &[(&str, &str)], form: Form, value: Number) {
        let Number(Some(bits)) = value else { return };
        let all: Vec<_> = std::iter::once(("device", self.device)).chain(labels.iter().copied()).collect();
        self.figures.push(Figure { metric: form.metric(name, &all), bits });
    }
}

/// What smartctl said of the disk that the kernel calls `device`.
pub(super) fn of(device: &str, report: &Report) -> Figures {
    let mut main = Of { device, figures: Vec::new() };
    info(&mut main, report);
    general(&mut main, report);
    nvme(&mut main, report);
    scsi(&mut main, report);
    let mut table = Of { device, figures: Vec::new() };
    for attribute in report.ata_smart_attributes.table.iter().take(MAX_ATTRIBUTES) {
        self::attribute(&mut table, attribute);
    }
    Figures { main: main.figures, attributes: table.figures }
}

/// smartctl itself: its metric's labels.
pub(super) fn version(report: &Report) -> Metric {
    let dotted = |numbers: &[Number]| {
        let numbers = numbers.iter().take(MAX_OF_A_KIND).filter_map(|number| number.0);
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(".")
    };
    let smartctl = &report.smartctl;
    PLAIN.metric(
        "smartctl_version",
        &[
            ("json_format_version", &dotted(&report.json_format_version)),
            ("smartctl_version", &dotted(&smartctl.version)),
            ("svn_revision", text(smartctl.svn_revision.as_ref())),
            ("build_info", text(smartctl.build_info.as_ref())),
        ],
    )
}

fn text(said: Option<&String>) -> &str {
    said.map(|text| text.trim()).unwrap_or_default()
}

fn known(said: Option<&String>) -> &str {
    Some(text(said)).filter(|text| !text.is_empty()).unwrap_or("unknown")
}

fn info(out: &mut Of<'_>, report: &Report) {
    let labels = [
        ("interface", text(report.device.interface.as_ref())),
        ("protocol", text(report.device.protocol.as_ref())),
        ("model_family", known(report.model_family.as_ref())),
        ("model_name", known(report.model_name.as_ref().or(report.scsi_model_name.as_ref()))),
        ("serial_number", text(report.serial_number.as_ref())),
        ("ata_additional_product_id", known(report.ata_additional_product_id.as_ref())),
        ("firmware_version", text(report.firmware_version.as_ref())),
        ("ata_version", text(report.ata_version.string.as_ref())),
        ("sata_version", text(report.sata_version.string.as_ref())),
        ("form_factor", text(report.form_factor.name.as_ref())),
        ("scsi_vendor", text(report.scsi_vendor.as_ref())),
        ("scsi_product", text(report.scsi_product.as_ref())),
        ("scsi_revision", text(report.scsi_revision.as_ref())),
        ("scsi_version", text(report.scsi_version.as_ref())),
    ];
    if report.device.protocol.is_some() {
        out.with(INFO, &labels, PLAIN, Number(Some(1)));
    }
}

fn general(out: &mut Of<'_>, report: &Report) {
    out.add("smartctl_device_capacity_blocks", PLAIN, report.user_capacity.blocks);
    out.add("smartctl_device_capacity_bytes", PLAIN, report.user_capacity.bytes);
    out.add("smartctl_device_nvme_capacity_bytes", PLAIN, report.nvme_total_capacity);
    for (which, size) in [("logical", report.logical_block_size), ("physical", report.physical_block_size)] {
        out.with("smartctl_device_block_size", &[("blocks_type", which)], PLAIN, size);
    }
    for (which, speed) in [("max", &report.interface_speed.max), ("current", &report.interface_speed.current)] {
        out.with("smartctl_device_interface_speed", &[("speed_type", which)], PLAIN, bits_per_second(speed));
    }
    let hours = report.power_on_time.hours.0;
    let minutes = report.power_on_time.minutes.0.unwrap_or(0);
    let seconds = hours.and_then(|hours| hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60));
    out.add("smartctl_device_power_on_seconds", COUNT, Number(seconds));
    // 0 is a disk that does not rotate.
    out.add("smartctl_device_rotation_rate", PLAIN, Number(report.rotation_rate.0.filter(|rate| *rate > 0)));
    for (which, degrees) in report.temperature.iter().take(MAX_OF_A_KIND) {
        let form = Form::signed_gauge(Scale::ONE);
        let bits = Number(degrees.0.map(i64::cast_unsigned));
        out.with("smartctl_device_temperature", &[("temperature_type", which)], form, bits);
    }
    let cycles = report.power_cycle_count.0.or(report.scsi_start_stop_cycle_counter.accumulated_start_stop_cycles.0);
    out.add("smartctl_device_power_cycle_count", COUNT, Number(cycles));
    for (which, log) in report.ata_smart_error_log.iter().take(MAX_OF_A_KIND) {
        out.with("smartctl_device_error_log_count", &[("error_log_type", which)], PLAIN, log.count);
    }
    out.add("smartctl_device_smart_status", PLAIN, Number(report.smart_status.passed.map(u64::from)));
}

fn bits_per_second(speed: &Speed) -> Number {
    Number(speed.units_per_second.0.zip(speed.bits_per_unit.0).and_then(|(units, bits)| units.checked_mul(bits)))
}

fn nvme(out: &mut Of<'_>, report: &Report) {
    let Some(health) = &report.nvme_smart_health_information_log else { return };
    out.add("smartctl_device_percentage_used", PLAIN, health.percentage_used);
    out.add("smartctl_device_available_spare", PLAIN, health.available_spare);
    out.add("smartctl_device_available_spare_threshold", PLAIN, health.available_spare_threshold);
    out.add("smartctl_device_critical_warning", PLAIN, health.critical_warning);
    out.add("smartctl_device_media_errors", COUNT, health.media_errors);
    out.add("smartctl_device_num_err_log_entries", COUNT, health.num_err_log_entries);
    // 0 is a controller that does not count them.
    let counted = |units: Number| Number(units.0.filter(|units| *units > 0));
    out.add("smartctl_device_bytes_read", DATA_UNITS, counted(health.data_units_read));
    out.add("smartctl_device_bytes_written", DATA_UNITS, counted(health.data_units_written));
}

fn scsi(out: &mut Of<'_>, report: &Report) {
    out.add("smartctl_scsi_grown_defect_list", PLAIN, report.scsi_grown_defect_list);
    let Some(errors) = &report.scsi_error_counter_log else { return };
    out.add("smartctl_device_bytes_read", MEGABYTES, megabytes(&errors.read));
    out.add("smartctl_device_bytes_written", MEGABYTES, megabytes(&errors.write));
    for (what, counters) in [("read", &errors.read), ("write", &errors.write)] {
        for (which, count) in [
            ("errors_corrected_by_rereads_rewrites", counters.errors_corrected_by_rereads_rewrites),
            ("errors_corrected_by_eccfast", counters.errors_corrected_by_eccfast),
            ("errors_corrected_by_eccdelayed", counters.errors_corrected_by_eccdelayed),
            ("total_uncorrected_errors", counters.total_uncorrected_errors),
        ] {
            out.add(&format!("smartctl_{what}_{which}"), PLAIN, count);
        }
    }
}

/// `1234.567` gigabytes.
fn megabytes(counters: &ScsiCounters) -> Number {
    let read = |text: &str| {
        let (whole, places) = text.trim().split_once('.')?;
        let places = (places.len() == 3).then(|| places.parse::<u64>().ok()).flatten()?;
        whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(places)
    };
    Number(counters.gigabytes_processed.as_deref().and_then(read))
}

fn attribute(out: &mut Of<'_>, attribute: &Attribute) {
    let Number(Some(id)) = attribute.id else { return };
    let (id, flags) = (id.to_string(), long_flags(&attribute.flags));
    for (which, value) in [
        ("value", attribute.value),
        ("worst", attribute.worst),
        ("thresh", attribute.thresh),
        ("raw", attribute.raw.value),
    ] {
        let labels = [
            ("attribute_name", attribute.name.trim()),
            ("attribute_flags_short", attribute.flags.string.trim()),
            ("attribute_flags_long", &flags),
            ("attribute_value_type", which),
            ("attribute_id", &id),
        ];
        out.with("smartctl_device_attribute", &labels, PLAIN, value);
    }
}

fn long_flags(flags: &Flags) -> String {
    let all = [
        ("prefailure", flags.prefailure),
        ("updated_online", flags.updated_online),
        ("performance", flags.performance),
        ("error_rate", flags.error_rate),
        ("event_count", flags.event_count),
        ("auto_keep", flags.auto_keep),
    ];
    all.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}
