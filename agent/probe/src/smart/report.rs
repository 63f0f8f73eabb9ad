//! What smartctl says of one disk: as much of its JSON as is used, and nothing believed.
//!
//! Format: smartctl(8) of smartmontools 7.3, `--json`, whose keys are those of its `nvmeprint.cpp`, `ataprint.cpp` and `scsiprint.cpp`.
//! What is missing or unknown is left out; a number that is none, is negative or too large is absent and no error.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The whole of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) json_format_version: Vec<Number>,
    pub(super) smartctl: Smartctl,
    pub(super) device: Device,
    pub(super) model_family: Option<String>,
    pub(super) model_name: Option<String>,
    pub(super) scsi_model_name: Option<String>,
    pub(super) serial_number: Option<String>,
    pub(super) ata_additional_product_id: Option<String>,
    pub(super) firmware_version: Option<String>,
    pub(super) ata_version: Named,
    pub(super) sata_version: Named,
    pub(super) form_factor: FormFactor,
    pub(super) scsi_vendor: Option<String>,
    pub(super) scsi_product: Option<String>,
    pub(super) scsi_revision: Option<String>,
    pub(super) scsi_version: Option<String>,
    pub(super) user_capacity: Capacity,
    pub(super) nvme_total_capacity: Number,
    pub(super) logical_block_size: Number,
    pub(super) physical_block_size: Number,
    pub(super) interface_speed: Speeds,
    pub(super) rotation_rate: Number,
    pub(super) smart_status: Status,
    pub(super) temperature: BTreeMap<String, Degrees>,
    pub(super) power_on_time: PowerOn,
    pub(super) power_cycle_count: Number,
    pub(super) ata_smart_attributes: Attributes,
    pub(super) ata_smart_error_log: BTreeMap<String, ErrorLog>,
    pub(super) nvme_smart_health_information_log: Option<NvmeHealth>,
    pub(super) scsi_start_stop_cycle_counter: StartStop,
    pub(super) scsi_grown_defect_list: Number,
    pub(super) scsi_error_counter_log: Option<ScsiErrors>,
}

/// About smartctl itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Smartctl {
    pub(super) version: Vec<Number>,
    pub(super) svn_revision: Option<String>,
    pub(super) build_info: Option<String>,
    pub(super) messages: Vec<Message>,
    pub(super) exit_status: Number,
}

/// What it complains about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) string: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Device {
    #[serde(rename = "type")]
    pub(super) interface: Option<String>,
    pub(super) protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) string: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FormFactor {
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Capacity {
    pub(super) blocks: Number,
    pub(super) bytes: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Speeds {
    pub(super) max: Speed,
    pub(super) current: Speed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Speed {
    pub(super) units_per_second: Number,
    pub(super) bits_per_unit: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) passed: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PowerOn {
    pub(super) hours: Number,
    pub(super) minutes: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub(super) table: Vec<Attribute>,
}

/// One line of an ATA disk's table.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attribute {
    pub(super) id: Number,
    pub(super) name: String,
    pub(super) value: Number,
    pub(super) worst: Number,
    pub(super) thresh: Number,
    pub(super) flags: Flags,
    pub(super) raw: Raw,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flags {
    pub(super) string: String,
    pub(super) prefailure: bool,
    pub(super) updated_online: bool,
    pub(super) performance: bool,
    pub(super) error_rate: bool,
    pub(super) event_count: bool,
    pub(super) auto_keep: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) value: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorLog {
    pub(super) count: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NvmeHealth {
    pub(super) critical_warning: Number,
    pub(super) available_spare: Number,
    pub(super) available_spare_threshold: Number,
    pub(super) percentage_used: Number,
    pub(super) data_units_read: Number,
    pub(super) data_units_written: Number,
    pub(super) media_errors: Number,
    pub(super) num_err_log_entries: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StartStop {
    pub(super) accumulated_start_stop_cycles: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScsiErrors {
    pub(super) read: ScsiCounters,
    pub(super) write: ScsiCounters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScsiCounters {
    pub(super) errors_corrected_by_eccfast: Number,
    pub(super) errors_corrected_by_eccdelayed: Number,
    pub(super) errors_corrected_by_rereads_rewrites: Number,
    /// 10⁹ bytes with three places, as text.
    pub(super) gigabytes_processed: Option<String>,
    pub(super) total_uncorrected_errors: Number,
}

/// A number that is not negative and fits, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|value| Self(value.as_u64()))
    }
}

/// A temperature in °C, which may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Degrees(pub(super) Option<i64>);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|value| Self(value.as_i64()))
    }
}

impl Report {
    /// Reads it; nothing if it is no such text.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        // Releases before 7.3 print this line of a SCSI disk's before the JSON.
        let text = text.trim_ascii_start();
        let text = text.strip_prefix(b"Pending defect count:").unwrap_or(text);
        serde_json::from_slice(text).ok()
    }

    /// The first complaint that has `word` in it.
    pub(super) fn complaint(&self, word: &str) -> Option<&str> {
        self.smartctl.messages.iter().map(|message| message.string.as_str()).find(|text| text.contains(word))
    }
}
