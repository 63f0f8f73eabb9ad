//! A card's figures under dcgm-exporter's names. What a card does not support is absent; what it supports and does not tell at this
//! moment has no value.
//!
//! Left out: `DCGM_FI_DEV_PCIE_TX_THROUGHPUT` and its like, for which the driver measures for 20 ms each; the counters
//! `dsmil_gpu_pcie_*` cost nothing and say more. `DCGM_FI_DEV_XID_ERRORS` comes from the kernel's log, which has those that came while
//! nobody listened. Memory is passed on in bytes with a scale to MiB, of which dcgm-exporter shows whole ones.

use super::card::Card;
use dsmil_protocol::metric::Scale;
use dsmil_sensors::accelerators::schema::{Figure, Quantity, Source};
use dsmil_sensors::{Form, Reading};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id as id;

const COUNT: Form = Form::counter(Scale::ONE);
const PLAIN: Form = Form::gauge(Scale::ONE);
const MILLI: Form = Form::gauge(Scale::per(1000));
const MIB: Form = Form::gauge(Scale::per(1 << 20));

/// What answers for a card, or for an instance of one: NVIDIA's library, or, for the reference of metrics, a card
/// that has everything.
pub(super) trait Gpu {
    /// The number of one call.
    fn one(&self, call: &Call) -> Result<u64, NvmlError>;

    /// How much of the time it computed, and how much its memory was used, in per cent.
    fn busy(&self) -> Result<[u64; 2], NvmlError>;

    /// Bytes of memory: free, used and reserved.
    fn memory(&self) -> Result<[u64; 3], NvmlError>;

    /// The figures of these numbers.
    fn fields(&self, asked: &[FieldId]) -> Result<Vec<Result<u64, NvmlError>>, NvmlError>;
}

impl Gpu for Device<'_> {
    fn one(&self, call: &Call) -> Result<u64, NvmlError> {
        (call.ask)(self)
    }

    fn busy(&self) -> Result<[u64; 2], NvmlError> {
        self.utilization_rates().map(|busy| [busy.gpu.into(), busy.memory.into()])
    }

    fn memory(&self) -> Result<[u64; 3], NvmlError> {
        self.memory_info().map(|memory| [memory.free, memory.used, memory.reserved])
    }

    fn fields(&self, asked: &[FieldId]) -> Result<Vec<Result<u64, NvmlError>>, NvmlError> {
        Ok(self.field_values_for(asked)?.into_iter().map(|answer| answer.and_then(number)).collect())
    }
}

/// One call, one number.
pub(super) struct Call {
    name: &'static str,
    form: Form,
    /// What the same number is in the schema of all accelerators.
    also: Option<(Quantity, Scale)>,
    ask: fn(&Device<'_>) -> Result<u64, NvmlError>,
}

impl Call {
    const fn new(name: &'static str, form: Form, ask: fn(&Device<'_>) -> Result<u64, NvmlError>) -> Self {
        Self { name, form, also: None, ask }
    }

    const fn also(self, quantity: Quantity, scale: Scale) -> Self {
        Self { also: Some((quantity, scale)), ..self }
    }
}

const CALLS: [Call; 11] = [
    Call::new("DCGM_FI_DEV_SM_CLOCK", PLAIN, |gpu| Ok(gpu.clock_info(Clock::SM)?.into()))
        .also(Quantity::Clock, Scale::times(1_000_000)),
    Call::new("DCGM_FI_DEV_MEM_CLOCK", PLAIN, |gpu| Ok(gpu.clock_info(Clock::Memory)?.into())),
    Call::new("DCGM_FI_DEV_GPU_TEMP", PLAIN, |gpu| Ok(gpu.temperature(TemperatureSensor::Gpu)?.into()))
        .also(Quantity::Temperature, Scale::ONE),
    Call::new("DCGM_FI_DEV_POWER_USAGE", MILLI, |gpu| Ok(gpu.power_usage()?.into()))
        .also(Quantity::Power, Scale::per(1000)),
    Call::new("DCGM_FI_DEV_POWER_MGMT_LIMIT", MILLI, |gpu| Ok(gpu.enforced_power_limit()?.into())),
    // Millijoules, as dcgm-exporter shows them.
    Call::new("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", COUNT, |gpu| gpu.total_energy_consumption())
        .also(Quantity::Energy, Scale::per(1000)),
    Call::new("DCGM_FI_DEV_ENC_UTIL", PLAIN, |gpu| Ok(gpu.encoder_utilization()?.utilization.into())),
    Call::new("DCGM_FI_DEV_DEC_UTIL", PLAIN, |gpu| Ok(gpu.decoder_utilization()?.utilization.into())),
    // One bit a reason, as NVML's `nvmlClocksEventReasons`.
    Call::new("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", PLAIN, |gpu| Ok(gpu.current_throttle_reasons()?.bits())),
    Call::new(COMPUTE_PROCESSES, PLAIN, |gpu| Ok(gpu.running_compute_processes_count()?.into())),
    Call::new("dsmil_gpu_graphics_processes", PLAIN, |gpu| Ok(gpu.running_graphics_processes_count()?.into())),
];
const COMPUTE_PROCESSES: &str = "dsmil_gpu_compute_processes";

/// Figures that one call answers together: NVML's number, the name.
const FIELDS: [(u32, &str, Form); 26] = [
    (id::NVML_FI_DEV_MEMORY_TEMP, "DCGM_FI_DEV_MEMORY_TEMP", PLAIN),
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
    (id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL, "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", COUNT),
    (id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL, "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", COUNT),
    (id::NVML_FI_DEV_RETIRED_SBE, "DCGM_FI_DEV_RETIRED_SBE", COUNT),
    (id::NVML_FI_DEV_RETIRED_DBE, "DCGM_FI_DEV_RETIRED_DBE", COUNT),
    (id::NVML_FI_DEV_RETIRED_PENDING, "DCGM_FI_DEV_RETIRED_PENDING", COUNT),
    (id::NVML_FI_DEV_REMAPPED_UNC, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", COUNT),
    (id::NVML_FI_DEV_REMAPPED_COR, "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", COUNT),
    (id::NVML_FI_DEV_REMAPPED_PENDING, "DCGM_FI_DEV_ROW_REMAP_PENDING", PLAIN),
    (id::NVML_FI_DEV_REMAPPED_FAILURE, "DCGM_FI_DEV_ROW_REMAP_FAILURE", PLAIN),
    (id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", COUNT),
    (id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL, "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", COUNT),
    (id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", COUNT),
    (id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", COUNT),
    (id::NVML_FI_DEV_NVLINK_BANDWIDTH_C0_TOTAL, "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", COUNT),
    (id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES, "dsmil_gpu_pcie_transmit_bytes_total", COUNT),
    (id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES, "dsmil_gpu_pcie_receive_bytes_total", COUNT),
];

/// What came of reading a card.
pub(super) struct Read {
    /// Somebody uses it.
    pub(super) at_work: bool,
    /// Its figures in the schema of all accelerators.
    pub(super) figures: Vec<Figure>,
}

/// Pushes a card's figures; an error if the card as a whole is in trouble.
pub(super) fn push(gpu: &impl Gpu, card: &Card, out: &mut Reading) -> Result<Read, NvmlError> {
    let labels = card.labels();
    let mut read = Read { at_work: false, figures: Vec::new() };
    let mut add = |quantity, scale, value| {
        read.figures.push(Figure { quantity, scale, source: Source::Measured, value });
    };
    for call in &CALLS {
        let value = gpu.one(call);
        read.at_work |= call.name == COMPUTE_PROCESSES && value.as_ref().is_ok_and(|count| *count > 0);
        let told = push_all([call.name], &labels, call.form, value.map(|value| [value]), out)?;
        if let (Some((quantity, scale)), Some([value])) = (call.also, told) {
            add(quantity, scale, value);
        }
    }
    let busy = gpu.busy();
    read.at_work |= busy.as_ref().is_ok_and(|[gpu, _]| *gpu > 0);
    let names = ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL"];
    if let Some([gpu, _]) = push_all(names, &labels, PLAIN, busy, out)? {
        add(Quantity::Utilisation, Scale::per(100), gpu);
    }
    if let Some([free, used, reserved]) = memory(gpu, &labels, out)? {
        add(Quantity::MemoryUsed, Scale::ONE, used);
        let total = free.zip(used).zip(reserved).map(|((free, used), reserved)| free + used + reserved);
        add(Quantity::MemoryTotal, Scale::ONE, total);
    }
    fields(gpu, &labels, out)?;
    Ok(read)
}

/// The memory of a card or of an instance: free, used and reserved.
pub(super) fn memory(
    gpu: &impl Gpu,
    labels: &[(&str, &str)],
    out: &mut Reading,
) -> Result<Option<[Option<u64>; 3]>, NvmlError> {
    let names = ["DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_RESERVED"];
    push_all(names, labels, MIB, gpu.memory(), out)
}

fn fields(gpu: &impl Gpu, labels: &[(&str, &str)], out: &mut Reading) -> Result<(), NvmlError> {
    let asked: Vec<FieldId> = FIELDS.iter().map(|(number, ..)| FieldId(*number)).collect();
    let answers = match gpu.fields(&asked) {
        Ok(answers) => answers,
        Err(error) if is_of_the_card(&error) => return Err(error),
        Err(_) => return Ok(()), // A driver that does not know this call.
    };
    for ((_, name, form), answer) in FIELDS.iter().zip(answers) {
        push_all([name], labels, *form, answer.map(|value| [value]), out)?;
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

/// Pushes what one call answered, and says it again; nothing of what the card has not.
fn push_all<const N: usize>(
    names: [&str; N],
    labels: &[(&str, &str)],
    form: Form,
    values: Result<[u64; N], NvmlError>,
    out: &mut Reading,
) -> Result<Option<[Option<u64>; N]>, NvmlError> {
    let values = match values {
        Ok(values) => values.map(Some),
        Err(error) if is_of_the_card(&error) => return Err(error),
        // The card has no such thing, or the library is older than the call.
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::InvalidArg) => return Ok(None),
        Err(_) => [None; N],
    };
    names.iter().zip(values).for_each(|(name, value)| out.push(name, labels, form, value));
    Ok(Some(values))
}

/// Whether an error is about the card and not about what was asked.
fn is_of_the_card(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::Uninitialized)
}
