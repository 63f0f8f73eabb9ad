//! AMD's NPUs (XDNA). Their engines' time is told to each of their users only (DRM fdinfo, which a probe reads); below /sys there is
//! what it is, and whether it sleeps.
//!
//! Format: the kernel's `drivers/accel/amdxdna/amdxdna_sysfs.c`: `vbnv` is the model's name.

use super::family::Family;
use super::schema::AcceleratorKind;

pub(super) const FAMILY: Family = Family {
    name: "amd_npu",
    source: "/sys/class/accel/accel*/device of the driver amdxdna",
    class: "class/accel",
    prefix: "accel",
    drivers: &["amdxdna"],
    kind: AcceleratorKind::Npu,
    vendor: "amd",
    model: Some("vbnv"),
    figures: &[],
    own: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::card;

    #[test]
    fn its_name_is_asked_for_when_it_is_awake() {
        let npu = "devices/pci0000:00/0000:00:08.2/0000:0d:00.1";
        let files = [("vendor", "0x1022"), ("device", "0x1502"), ("vbnv", "RyzenAI-npu1")];
        let tree = card("class/accel/accel0", "amdxdna", npu, "suspended", &files);
        let mut sensor = FamilySensor::of(&FAMILY);
        let info = |model| {
            format!(
                "dsmil_accelerator_info{{accelerator=\"0000:0d:00.1\",kind=\"npu\",vendor=\"amd\",model=\"{model}\",driver=\"amdxdna\",pci=\"0000:0d:00.1\",device=\"accel0\"}}"
            )
        };
        let seen = tree.read(&mut sensor);
        assert!(seen.has(&info("1022:1502")), "{:?}", seen.names());
        tree.sys(&format!("{npu}/power/runtime_status"), "active\n");
        assert!(tree.read(&mut sensor).has(&info("RyzenAI-npu1")));
        tree.sys(&format!("{npu}/power/runtime_status"), "suspended\n");
        assert!(tree.read(&mut sensor).has(&info("RyzenAI-npu1")), "and is remembered");
    }
}
