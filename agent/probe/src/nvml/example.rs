//! A card that has everything and is divided: what the reference of metrics is made of, where no library is.

use super::card::Card;
use super::mig;
use super::values::{self, Call, Gpu};
use dsmil_sensors::Reading;
use dsmil_sensors::accelerators::schema::AcceleratorState;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;

/// Answers whatever is asked.
struct Everything;

impl Gpu for Everything {
    fn one(&self, _: &Call) -> Result<u64, NvmlError> {
        Ok(1)
    }

    fn busy(&self) -> Result<[u64; 2], NvmlError> {
        Ok([1; 2])
    }

    fn memory(&self) -> Result<[u64; 3], NvmlError> {
        Ok([1 << 30; 3])
    }

    fn fields(&self, asked: &[FieldId]) -> Result<Vec<Result<u64, NvmlError>>, NvmlError> {
        Ok(asked.iter().map(|_| Ok(1)).collect())
    }
}

/// Pushes all that a card can say, by the code that reads real ones.
pub(crate) fn example(out: &mut Reading) {
    let card = Card::example();
    let read = values::push(&Everything, &card, out).expect("it is in no trouble");
    let uuid = "MIG-00000000-0000-0000-0000-000000000000";
    mig::push_instance(&Everything, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", uuid, &card, out).expect("it is there");
    card.push(AcceleratorState::Active, &read.figures, out);
}
