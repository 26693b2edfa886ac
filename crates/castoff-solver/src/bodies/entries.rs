//! Reading a layer entry by entry, whatever its body is.

use std::io::{self, Read};

use castoff_layer::{Entry, TarReadError, TarWriteError, TreeError, TreeOptions};
use castoff_store::LayerId;

use super::{Bodies, BodyError};
use crate::driver::Messenger;

impl Bodies<'_> {
    /// Shows each entry of a layer to `visit`, with a reader of its data. A layer that is not on this machine is
    /// fetched.
    ///
    /// # Errors
    /// When the layer cannot be read or fetched, and when `visit` fails.
    pub fn entries(
        &self,
        id: &LayerId,
        messenger: &Messenger,
        visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), BodyError> {
        let store = &self.world.store;
        if let Some(path) = store.layer_dir(id) {
            let machine = &self.world.machine;
            let options = TreeOptions {
                opaque: machine.opaque,
                ownership: machine.ownership,
                overlay: true,
                ..Default::default()
            };
            let visit = &mut |entry: &Entry, data: &mut dyn Read| {
                visit(entry, data).map_err(|error| TreeError::Write(TarWriteError::Io(error)))
            };
            let error = |source| BodyError::Tar { layer: id.to_string(), source };
            return castoff_layer::read_tree(&path, &options, visit).map(drop).map_err(error);
        }
        let stored = || match self.known_diff_id(id) {
            Some(diff_id) => Ok(store.open_blob(&diff_id.0)?),
            None => Ok::<_, BodyError>(None),
        };
        let mut tar = stored()?;
        let mut plain: Option<Box<dyn Read + Send + '_>> = None;
        if tar.is_none() {
            let origin = self.origin(id).ok_or_else(|| BodyError::Missing(id.to_string()))?;
            // What a shared cache has is verified before anything looks at it.
            self.fetch_origin(&origin, messenger)?;
            tar = stored()?;
            if tar.is_none() {
                let stream = |source| BodyError::Stream { digest: origin.digest(), source };
                let blob = self.open_origin(&origin, messenger)?;
                plain = Some(castoff_layer::decompress(blob).map_err(stream)?.1);
            }
        }
        let mut file;
        let reader: &mut dyn Read = match (&mut plain, tar) {
            (Some(plain), _) => plain,
            (None, found) => {
                file = found.expect("one of both is there");
                &mut file
            }
        };
        let error = |source| BodyError::Index { layer: id.to_string(), source };
        castoff_layer::read_tar(reader, Default::default(), &mut |entry, data, _| {
            visit(&entry, data).map_err(TarReadError::Io)
        })
        .map_err(error)
    }
}
