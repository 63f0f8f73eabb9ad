//! The counters of dcgm-exporter's own list (its `etc/default-counters.csv`, releases 3 and 4), those that are off there included: whether
//! a host has it, and if not, why. The page for users is held against this, and this against a real Prometheus.

/// Whether a host reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// It does, where its card has it.
    Yes,
    /// It does not, for this reason.
    No(&'static str),
}

const PCIE: &str =
    "the driver measures for 20 ms at each question; `dsmil_gpu_pcie_transmit_bytes_total` and `…_receive_…` count";
const LANES: &str = "of one lane; all lanes together are there";
const LICENCE: &str = "of a virtual machine's part of a GPU";
const LABEL: &str = "a label of every series there: an upgrade would begin all of them anew";
const PROFILING: &str = "a profiling counter: before Hopper only DCGM reads it, with an administrator's rights; NVML's own for newer cards is not read";

/// The list, in its order.
pub(crate) const COUNTERS: [(&str, Ours); 59] = [
    ("DCGM_FI_DEV_SM_CLOCK", Ours::Yes),
    ("DCGM_FI_DEV_MEM_CLOCK", Ours::Yes),
    ("DCGM_FI_DEV_MEMORY_TEMP", Ours::Yes),
    ("DCGM_FI_DEV_GPU_TEMP", Ours::Yes),
    ("DCGM_FI_DEV_POWER_USAGE", Ours::Yes),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Ours::Yes),
    ("DCGM_FI_DEV_PCIE_TX_THROUGHPUT", Ours::No(PCIE)),
    ("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", Ours::No(PCIE)),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Ours::Yes),
    ("DCGM_FI_DEV_GPU_UTIL", Ours::Yes),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", Ours::Yes),
    ("DCGM_FI_DEV_ENC_UTIL", Ours::Yes),
    ("DCGM_FI_DEV_DEC_UTIL", Ours::Yes),
    ("DCGM_FI_DEV_XID_ERRORS", Ours::Yes),
    ("DCGM_FI_DEV_POWER_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_THERMAL_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_LOW_UTIL_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_RELIABILITY_VIOLATION", Ours::Yes),
    ("DCGM_FI_DEV_FB_FREE", Ours::Yes),
    ("DCGM_FI_DEV_FB_USED", Ours::Yes),
    ("DCGM_FI_DEV_FB_RESERVED", Ours::Yes),
    ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_RETIRED_SBE", Ours::Yes),
    ("DCGM_FI_DEV_RETIRED_DBE", Ours::Yes),
    ("DCGM_FI_DEV_RETIRED_PENDING", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", Ours::Yes),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0", Ours::No(LANES)),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", Ours::No(LICENCE)),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", Ours::Yes),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", Ours::Yes),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", Ours::Yes),
    ("DCGM_FI_DRIVER_VERSION", Ours::No(LABEL)),
    ("DCGM_FI_NVML_VERSION", Ours::No(LABEL)),
    ("DCGM_FI_DEV_BRAND", Ours::No(LABEL)),
    ("DCGM_FI_DEV_SERIAL", Ours::No(LABEL)),
    ("DCGM_FI_DEV_OEM_INFOROM_VER", Ours::No(LABEL)),
    ("DCGM_FI_DEV_ECC_INFOROM_VER", Ours::No(LABEL)),
    ("DCGM_FI_DEV_POWER_INFOROM_VER", Ours::No(LABEL)),
    ("DCGM_FI_DEV_INFOROM_IMAGE_VER", Ours::No(LABEL)),
    ("DCGM_FI_DEV_VBIOS_VERSION", Ours::No(LABEL)),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_SM_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_SM_OCCUPANCY", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_DRAM_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_PIPE_FP64_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_PIPE_FP32_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_PIPE_FP16_ACTIVE", Ours::No(PROFILING)),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", Ours::No(PCIE)),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", Ours::No(PCIE)),
];

#[test]
fn the_page_for_users_has_every_counter_of_the_list_with_its_reason() {
    let page = include_str!("../../../docs/dcgm-exporter.md");
    let told: Vec<&str> = page.lines().filter(|line| line.starts_with("| `DCGM_FI_")).collect();
    let row = |(name, ours): &(&str, Ours)| match ours {
        Ours::Yes => format!("| `{name}` | yes |"),
        Ours::No(reason) => format!("| `{name}` | no: {reason} |"),
    };
    assert_eq!(told, COUNTERS.iter().map(row).collect::<Vec<_>>());
}
