//! Where the files of an image come from: which layer brought each, what was brought in vain, and through which
//! COPY of which stage a file came to where it is.
//!
//! [`Ledger`] needs the layers of an image alone. [`Tracer`] follows files back through the record of the build.

mod ledger;
mod source;
mod tracer;
mod waste;

pub use ledger::{LayerSums, Ledger, LiveFile, Lost, Moment, MomentKind};
pub use tracer::{Hop, Maker, Origin, StageView, Stages, TraceError, Tracer};
pub use waste::{PackageCache, package_caches};
