//! What a store is written on: a file, or memory where a test wants to see every write.

use std::{fmt::Debug, fs::File, io};

/// Bytes that outlive the process, once they are synced.
pub(super) trait Disk: Debug + Send + Sync {
    /// How many there are.
    fn len(&self) -> io::Result<u64>;
    /// Reads exactly so many; fails with `UnexpectedEof` beyond the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of them.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it, or goes on with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when all that was written before is kept.
    fn sync(&self) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub(super) struct FileDisk(Positioned);

impl FileDisk {
    pub(super) fn new(file: File) -> Self {
        Self(Positioned::new(file))
    }
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.file().metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.file().set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.file().sync_data()
    }
}

#[cfg(unix)]
use unix::Positioned;

#[cfg(unix)]
mod unix {
    use std::{fs::File, io, os::unix::fs::FileExt};

    #[derive(Debug)]
    pub(super) struct Positioned(File);

    impl Positioned {
        pub(super) fn new(file: File) -> Self {
            Self(file)
        }

        pub(super) fn file(&self) -> &File {
            &self.0
        }

        pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read_exact_at(out, offset)
        }

        pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all_at(bytes, offset)
        }
    }
}

#[cfg(not(unix))]
use elsewhere::Positioned;

#[cfg(not(unix))]
mod elsewhere {
    use std::{
        fs::File,
        io::{self, Read, Seek, SeekFrom, Write},
    };

    use parking_lot::Mutex;

    /// A file has one position: whoever moves it holds the lock.
    #[derive(Debug)]
    pub(super) struct Positioned {
        file: File,
        position: Mutex<()>,
    }

    impl Positioned {
        pub(super) fn new(file: File) -> Self {
            Self { file, position: Mutex::new(()) }
        }

        pub(super) fn file(&self) -> &File {
            &self.file
        }

        pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let _held = self.position.lock();
            let mut file = &self.file;
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(out)
        }

        pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let _held = self.position.lock();
            let mut file = &self.file;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        }
    }
}
