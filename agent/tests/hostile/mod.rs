//! Bytes of strangers: what must hold of everything that reads what others wrote, whatever the bytes are. The fuzz targets,
//! also run over their corpora by the tests.

mod charon;
mod files;
mod kernel;
mod operator;

pub use charon::vici;
pub use files::{capture, config, import, web};
pub use kernel::netlink;
pub use operator::control;
