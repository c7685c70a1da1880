//! Lets the iceberg crate read and write manifests and metadata through an [`ObjectStore`].

use super::{ObjectStore, StoreError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A `FileIO` over the store, for URIs that [`ObjectStore::uri`] makes.
pub fn file_io(store: Arc<dyn ObjectStore>) -> FileIO {
    FileIOBuilder::new(Arc::new(Adapter { store: Some(store) })).build()
}

/// Iceberg requires that storages can be serialized. This one loses its store by that: every call is then an error.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Adapter {
    #[serde(skip)]
    store: Option<Arc<dyn ObjectStore>>,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adapter")
    }
}

fn wrap(error: StoreError) -> Error {
    let kind = match error {
        StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } => ErrorKind::DataInvalid,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

impl Adapter {
    fn at(&self, uri: &str) -> Result<(&Arc<dyn ObjectStore>, String)> {
        let store =
            self.store.as_ref().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the storage lost its store"))?;
        let path = store.relative(uri).map_err(wrap)?;
        Ok((store, path))
    }
}

#[async_trait]
#[typetag::serde(name = "authpulse")]
impl Storage for Adapter {
    async fn exists(&self, uri: &str) -> Result<bool> {
        let (store, path) = self.at(uri)?;
        Ok(store.size(&path).await.map_err(wrap)?.is_some())
    }

    async fn metadata(&self, uri: &str) -> Result<FileMetadata> {
        let (store, path) = self.at(uri)?;
        let size = store.size(&path).await.map_err(wrap)?;
        Ok(FileMetadata { size: size.ok_or_else(|| wrap(StoreError::NotFound { path }))? })
    }

    async fn read(&self, uri: &str) -> Result<Bytes> {
        let (store, path) = self.at(uri)?;
        store.get(&path).await.map_err(wrap)
    }

    async fn reader(&self, uri: &str) -> Result<Box<dyn FileRead>> {
        let (store, path) = self.at(uri)?;
        Ok(Box::new(StoreReader { store: store.clone(), path }))
    }

    async fn write(&self, uri: &str, body: Bytes) -> Result<()> {
        let (store, path) = self.at(uri)?;
        store.put_new(&path, body).await.map_err(wrap)
    }

    async fn writer(&self, uri: &str) -> Result<Box<dyn FileWrite>> {
        let (store, path) = self.at(uri)?;
        Ok(Box::new(Writer { store: store.clone(), path, body: BytesMut::new() }))
    }

    async fn delete(&self, uri: &str) -> Result<()> {
        let (store, path) = self.at(uri)?;
        store.delete(&path).await.map_err(wrap)
    }

    async fn delete_prefix(&self, uri: &str) -> Result<()> {
        let (store, path) = self.at(uri.trim_end_matches('/'))?;
        for file in store.list(&format!("{path}/")).await.map_err(wrap)? {
            store.delete(&file.path).await.map_err(wrap)?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut uris: BoxStream<'static, String>) -> Result<()> {
        while let Some(uri) = uris.next().await {
            self.delete(&uri).await?;
        }
        Ok(())
    }

    fn new_input(&self, uri: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), uri.to_owned()))
    }

    fn new_output(&self, uri: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), uri.to_owned()))
    }
}

#[typetag::serde(name = "authpulse")]
impl StorageFactory for Adapter {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

struct StoreReader {
    store: Arc<dyn ObjectStore>,
    path: String,
}

#[async_trait]
impl FileRead for StoreReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(&self.path, range).await.map_err(wrap)
    }
}

struct Writer {
    store: Arc<dyn ObjectStore>,
    path: String,
    body: BytesMut,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, part: Bytes) -> Result<()> {
        self.body.extend_from_slice(&part);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let body = std::mem::take(&mut self.body).freeze();
        self.store.put_new(&self.path, body).await.map_err(wrap)
    }
}
