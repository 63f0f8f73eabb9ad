//! What can be said of cards without their library. With one, the drills of the crate e2e do.

use super::*;

#[test]
fn an_error_of_the_library_becomes_the_fault_that_it_means() {
    let tree = dsmil_sensors::tree::Tree::new();
    tree.sys("module/nvidia/version", "535.104.05\n");
    let root = tree.root();
    let fault = |error| super::fault(&error, "libx.so", &root);
    assert_eq!(fault(NvmlError::DriverNotLoaded), Fault::DriverNotLoaded);
    let driver = Some(Text::of("535.104.05"));
    assert_eq!(fault(NvmlError::LibRmVersionMismatch), Fault::VersionMismatch { driver });
    assert_eq!(fault(NvmlError::NoPermission), Fault::NoPermission { to: Text::of("/dev/nvidiactl") });
    assert!(matches!(fault(NvmlError::FailedToLoadSymbol("nvmlInit_v2".into())), Fault::LibraryUnusable { .. }));
    let device = "0000:01:00.0".parse().expect("an address");
    assert_eq!(of_card(&NvmlError::GpuLost, Some(device), "", &root), Fault::DeviceLost { device });
    assert!(matches!(of_card(&NvmlError::GpuLost, None, "", &root), Fault::LibraryUnusable { .. }));
}

const CARD: &str = "bus/pci/devices/0000:01:00.0";

fn host(status: &str) -> dsmil_sensors::tree::Tree {
    let tree = dsmil_sensors::tree::Tree::new();
    for (file, text) in [("vendor", "0x10de"), ("class", "0x030000"), ("power/runtime_status", status)] {
        tree.sys(&format!("{CARD}/{file}"), &format!("{text}\n"));
    }
    tree.sys("bus/pci/drivers/nvidia/bind", "");
    tree.link(&format!("sys/{CARD}/driver"), "../../drivers/nvidia");
    tree
}

#[test]
fn a_card_that_sleeps_is_left_asleep_and_said_to() {
    let tree = host("suspended");
    let (clock, _hand) = Clock::manual();
    let mut source = Nvidia::new(Some("/nonexistent/library.so".into()), clock);
    let mut reading = Reading::new();
    reading.begin();
    assert_eq!(source.read(&tree.root(), &mut reading), Ok(()), "the library is not even looked for");
    reading.complete();
    let series = dsmil_sensors::tree::series;
    let state = reading.metrics().zip(reading.values()).find(|(m, _)| series(m).contains("state=\"suspended\""));
    assert_eq!(state.and_then(|(_, value)| value), Some(1));
    tree.sys(&format!("{CARD}/power/runtime_status"), "active\n");
    let missing = Fault::LibraryMissing { library: Text::of("/nonexistent/library.so") };
    assert_eq!(source.read(&tree.root(), &mut reading), Err(missing));
}
