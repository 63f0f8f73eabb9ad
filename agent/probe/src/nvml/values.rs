//! A card's figures under dcgm-exporter's names. What a card does not support is absent; what it supports and does not tell at this
//! moment has no value.
//!
//! Left out: `DCGM_FI_DEV_PCIE_TX_THROUGHPUT` and its like, for which the driver measures for 20 ms each; the counters
//! `dsmil_gpu_pcie_*` cost nothing and say more. `DCGM_FI_DEV_XID_ERRORS` comes from the kernel's log, which has those that came while
//! nobody listened. Memory is passed on in bytes with a scale to MiB, of which dcgm-exporter shows whole ones.

use super::card::Card;
use super::gauge;
use dsmil_protocol::metric::Scale;
use dsmil_sensors::{Form, Reading};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id as id;

const COUNT: Form = Form::counter(Scale::ONE);
const MIB: Form = gauge(Scale::per(1 << 20));

/// One call, one figure.
struct Figure {
    name: &'static str,
    form: Form,
    read: fn(&Device<'_>) -> Result<u64, NvmlError>,
}

const fn figure(name: &'static str, form: Form, read: fn(&Device<'_>) -> Result<u64, NvmlError>) -> Figure {
    Figure { name, form, read }
}

const FIGURES: [Figure; 11] = [
    figure("DCGM_FI_DEV_SM_CLOCK", gauge(Scale::ONE), |gpu| gpu.clock_info(Clock::SM).map(u64::from)),
    figure("DCGM_FI_DEV_MEM_CLOCK", gauge(Scale::ONE), |gpu| gpu.clock_info(Clock::Memory).map(u64::from)),
    figure("DCGM_FI_DEV_GPU_TEMP", gauge(Scale::ONE), |gpu| gpu.temperature(TemperatureSensor::Gpu).map(u64::from)),
    // Milliwatts.
    figure("DCGM_FI_DEV_POWER_USAGE", gauge(Scale::per(1000)), |gpu| gpu.power_usage().map(u64::from)),
    figure("DCGM_FI_DEV_POWER_MGMT_LIMIT", gauge(Scale::per(1000)), |gpu| gpu.enforced_power_limit().map(u64::from)),
    // Millijoules, as dcgm-exporter shows them.
    figure("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", COUNT, |gpu| gpu.total_energy_consumption()),
    figure("DCGM_FI_DEV_ENC_UTIL", gauge(Scale::ONE), |gpu| {
        gpu.encoder_utilization().map(|use_| use_.utilization.into())
    }),
    figure("DCGM_FI_DEV_DEC_UTIL", gauge(Scale::ONE), |gpu| {
        gpu.decoder_utilization().map(|use_| use_.utilization.into())
    }),
    // One bit a reason, as NVML's `nvmlClocksEventReasons`.
    figure("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", gauge(Scale::ONE), |gpu| {
        gpu.current_throttle_reasons().map(|reasons| reasons.bits())
    }),
    figure("dsmil_gpu_compute_processes", gauge(Scale::ONE), |gpu| {
        gpu.running_compute_processes_count().map(u64::from)
    }),
    figure("dsmil_gpu_graphics_processes", gauge(Scale::ONE), |gpu| {
        gpu.running_graphics_processes_count().map(u64::from)
    }),
];

/// Figures that one call answers together: NVML's number, the name.
const FIELDS: [(u32, &str, Form); 20] = [
    (id::NVML_FI_DEV_MEMORY_TEMP, "DCGM_FI_DEV_MEMORY_TEMP", gauge(Scale::ONE)),
    (id::NVML_FI_DEV_PCIE_REPLAY_COUNTER, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", COUNT),
    // Nanoseconds, as NVML counts them.
    (id::NVML_FI_DEV_PERF_POLICY_POWER, "DCGM_FI_DEV_POWER_VIOLATION", COUNT),
    (id::NVML_FI_DEV_PERF_POLICY_THERMAL, "DCGM_FI_DEV_THERMAL_VIOLATION", COUNT),
    (id::NVML_FI_DEV_PERF_POLICY_SYNC_BOOST, "DCGM_FI_DEV_SYNC_BOOST_VIOLATION", COUNT),
    (id::NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT, "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", COUNT),
    (id::NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION, "DCGM_FI_DEV_LOW_UTIL_VIOLATION", COUNT),
    (id::NVML_FI_DEV_PERF_POLICY_RELIABILITY, "DCGM_FI_DEV_RELIABILITY_VIOLATION", COUNT),
    (id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL, "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", COUNT),
    (id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", COUNT),
    (id::NVML_FI_DEV_RETIRED_SBE, "DCGM_FI_DEV_RETIRED_SBE", COUNT),
    (id::NVML_FI_DEV_RETIRED_DBE, "DCGM_FI_DEV_RETIRED_DBE", COUNT),
    (id::NVML_FI_DEV_RETIRED_PENDING, "DCGM_FI_DEV_RETIRED_PENDING", COUNT),
    (id::NVML_FI_DEV_REMAPPED_UNC, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", COUNT),
    (id::NVML_FI_DEV_REMAPPED_COR, "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", COUNT),
    (id::NVML_FI_DEV_REMAPPED_FAILURE, "DCGM_FI_DEV_ROW_REMAP_FAILURE", gauge(Scale::ONE)),
    (id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", COUNT),
    (id::NVML_FI_DEV_NVLINK_BANDWIDTH_C0_TOTAL, "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", COUNT),
    (id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES, "dsmil_gpu_pcie_transmit_bytes_total", COUNT),
    (id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES, "dsmil_gpu_pcie_receive_bytes_total", COUNT),
];

/// Pushes a card's figures. Whether it is at work; an error if the card as a whole is in trouble.
pub(super) fn push(gpu: &Device<'_>, card: &Card, out: &mut Reading) -> Result<bool, NvmlError> {
    let labels = card.labels();
    let mut at_work = false;
    for figure in &FIGURES {
        let value = (figure.read)(gpu);
        at_work |= figure.name.ends_with("_processes") && value.as_ref().is_ok_and(|count| *count > 0);
        push_all([figure.name], &labels, figure.form, value.map(|value| [value]), out)?;
    }
    let busy = gpu.utilization_rates();
    at_work |= busy.as_ref().is_ok_and(|busy| busy.gpu > 0);
    let busy = busy.map(|busy| [busy.gpu.into(), busy.memory.into()]);
    let names = ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL"];
    push_all(names, &labels, gauge(Scale::ONE), busy, out)?;
    memory(gpu, &labels, out)?;
    fields(gpu, &labels, out)?;
    Ok(at_work)
}

/// The memory of a card or of an instance.
pub(super) fn memory(gpu: &Device<'_>, labels: &[(&str, &str)], out: &mut Reading) -> Result<(), NvmlError> {
    let names = ["DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED"];
    let memory = gpu.memory_info().map(|memory| [memory.free, memory.used, memory.reserved]);
    push_all(names, labels, MIB, memory, out)
}

fn fields(gpu: &Device<'_>, labels: &[(&str, &str)], out: &mut Reading) -> Result<(), NvmlError> {
    let asked: Vec<FieldId> = FIELDS.iter().map(|(number, ..)| FieldId(*number)).collect();
    let answers = match gpu.field_values_for(&asked) {
        Ok(answers) => answers,
        Err(error) if is_of_the_card(&error) => return Err(error),
        Err(_) => return Ok(()), // A driver that does not know this call.
    };
    for ((_, name, form), answer) in FIELDS.iter().zip(answers) {
        push_all([name], labels, *form, answer.and_then(number).map(|value| [value]), out)?;
    }
    Ok(())
}

/// A field's value as a number that is not negative.
fn number(sample: FieldValueSample) -> Result<u64, NvmlError> {
    match sample.value? {
        SampleValue::U32(value) => Ok(value.into()),
        SampleValue::U64(value) => Ok(value),
        SampleValue::I64(value) => u64::try_from(value).map_err(|_| NvmlError::NoData),
        SampleValue::F64(_) => Err(NvmlError::NoData),
    }
}

/// Pushes what one call answered.
fn push_all<const N: usize>(
    names: [&str; N],
    labels: &[(&str, &str)],
    form: Form,
    values: Result<[u64; N], NvmlError>,
    out: &mut Reading,
) -> Result<(), NvmlError> {
    match values {
        Ok(values) => names.iter().zip(values).for_each(|(name, value)| out.push(name, labels, form, Some(value))),
        Err(error) if is_of_the_card(&error) => return Err(error),
        // The card has no such thing, or the library is older than the call.
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::InvalidArg) => {}
        Err(_) => names.iter().for_each(|name| out.push(name, labels, form, None)),
    }
    Ok(())
}

/// Whether an error is about the card and not about what was asked.
fn is_of_the_card(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::Uninitialized)
}
