//! Ready implementations of the ports.

mod memory;

pub use memory::MemoryStore;
