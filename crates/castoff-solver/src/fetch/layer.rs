//! Writing a layer of the store.

use std::io::BufWriter;

use castoff_layer::{TarOptions, TarWriteError, TarWriter};
use castoff_oci::DiffId;
use castoff_store::{BlobError, BlobWriter, LayerDiff, LayerError, LayerId, Store};

/// Writes a tar into the store as a layer.
///
/// # Errors
/// Those of `write` and of the store.
pub(crate) fn write_layer<E>(
    store: &Store,
    options: TarOptions,
    write: impl FnOnce(&mut TarWriter<BufWriter<BlobWriter>>) -> Result<(), E>,
) -> Result<LayerId, E>
where
    E: From<BlobError> + From<TarWriteError> + From<LayerError>,
{
    let writer = BufWriter::with_capacity(256 * 1024, store.blob_writer()?);
    let mut tar = TarWriter::new(writer, options);
    write(&mut tar)?;
    let writer = tar.finish()?.into_inner();
    let writer = writer.map_err(|error| TarWriteError::from(error.into_error()))?;
    let blob = writer.finish(None)?;
    let id = LayerId::of_diff(DiffId(blob.digest));
    store.set_layer_diff(&id, LayerDiff { diff_id: DiffId(blob.digest), size: blob.size })?;
    Ok(id)
}
