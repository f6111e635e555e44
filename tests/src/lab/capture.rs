//! Packet captures of a lab: per directed link one file of what the sender sent and one of what arrived, in the pcap
//! format with nanoseconds (magic 0xa1b23c4d), which Wireshark and tcpdump read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// At which end of the link a frame was seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Sent = 0,
    Delivered = 1,
}

#[derive(Debug)]
pub(super) struct Capture {
    folder: PathBuf,
    /// Wall clock at the switch's time zero.
    epoch: Duration,
    hosts: usize,
    files: Vec<Option<BufWriter<File>>>,
    dirty: bool,
}

impl Capture {
    /// Captures into `folder`, which is made; time zero is now.
    pub(super) fn new(folder: PathBuf, hosts: usize) -> io::Result<Capture> {
        std::fs::create_dir_all(&folder)?;
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let files = (0..2 * hosts * hosts).map(|_| None).collect();
        Ok(Capture {
            folder,
            epoch,
            hosts,
            files,
            dirty: false,
        })
    }

    /// Writes one frame, seen at `now` ns, of the link between two ports.
    pub(super) fn record(
        &mut self,
        now: u64,
        from: usize,
        to: usize,
        end: End,
        frame: &[u8],
    ) -> io::Result<()> {
        let at = 2 * (from * self.hosts + to) + end as usize;
        let file = match &mut self.files[at] {
            Some(file) => file,
            empty => {
                let name = format!(
                    "{}-{}.{}.pcap",
                    from + 1,
                    to + 1,
                    ["sent", "delivered"][end as usize]
                );
                let mut file = BufWriter::new(File::create(self.folder.join(name))?);
                file.write_all(&file_header())?;
                empty.insert(file)
            }
        };
        let time = self.epoch + Duration::from_nanos(now);
        let length = frame.len() as u32;
        for word in [time.as_secs() as u32, time.subsec_nanos(), length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        self.dirty = true;
        file.write_all(frame)
    }

    /// Whether something was recorded since the last flush.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.dirty = false;
        self.files.iter_mut().flatten().try_for_each(Write::flush)
    }
}

/// Magic, version 2.4, zone, accuracy, longest frame, link type Ethernet.
fn file_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2u16.to_le_bytes());
    header[6..8].copy_from_slice(&4u16.to_le_bytes());
    header[16..20].copy_from_slice(&65_535_u32.to_le_bytes());
    header[20..24].copy_from_slice(&1u32.to_le_bytes());
    header
}
