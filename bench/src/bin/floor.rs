//! The sealed-pipe floor: the most that this machine's kernel and AEAD let through one UDP socket, without any protocol.
//!
//! One thread fills datagrams with records, seals each and sends runs of them (UDP_SEGMENT); another receives runs (UDP_GRO),
//! opens each datagram and copies each record out. No acknowledgement, no repair, no flow control: what the receiver is too
//! slow for is lost and not counted. Figures of Tidings are given as ratios against this one, measured in the same run.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tidings_bench::sys::{cpu_time, pin, set_option};

/// As a FAN datagram of Tidings: header, tag and the head of each record.
const HEADER: usize = 32;
const TAG: usize = 16;
const RECORD_HEAD: usize = 8;
/// Where the counter lies in the header.
const COUNTER: std::ops::Range<usize> = 8..16;
/// One send holds at most so many bytes and segments.
const RUN_BYTES: usize = 65_000;
const RUN_SEGMENTS: usize = 64;
const SOCKET_BUFFER: libc::c_int = 16 << 20;
/// Where records are copied to, as into an application's ring.
const SINK_BYTES: usize = 1 << 20;

#[derive(Parser)]
#[command(
    version,
    about = "Sealed datagrams of small records over GSO and GRO: the floor"
)]
struct Options {
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Bytes of each datagram, at most
    #[arg(long, default_value_t = 1472)]
    datagram: usize,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// CPUs of sender and receiver
    #[arg(long, value_delimiter = ',')]
    pin: Vec<usize>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Sizes that follow from the options.
#[derive(Clone, Copy)]
struct Shape {
    payload: usize,
    record: usize,
    records: usize,
    datagram: usize,
    segments: usize,
}

impl Shape {
    fn new(options: &Options) -> Result<Self, &'static str> {
        // Records begin at multiples of 8, as those of Tidings do.
        let record = RECORD_HEAD + options.size.next_multiple_of(8);
        let records = options.datagram.saturating_sub(HEADER + TAG) / record;
        if records == 0 || options.datagram > RUN_BYTES {
            return Err("no whole message fits into a datagram of this size");
        }
        let datagram = HEADER + records * record + TAG;
        Ok(Self {
            payload: options.size,
            record,
            records,
            datagram,
            segments: (RUN_BYTES / datagram).min(RUN_SEGMENTS),
        })
    }
}

/// What both threads see.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes make a key"))
}

fn nonce(header: &[u8]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&header[COUNTER]);
    Nonce::assume_unique_for_key(bytes)
}

/// Fills and seals one datagram.
fn fill(datagram: &mut [u8], shape: Shape, key: &LessSafeKey, payload: &[u8], counter: u64) {
    let (header, rest) = datagram.split_at_mut(HEADER);
    header[COUNTER].copy_from_slice(&counter.to_le_bytes());
    let (body, tag) = rest.split_at_mut(shape.records * shape.record);
    for record in body.chunks_exact_mut(shape.record) {
        record[..4].copy_from_slice(&(shape.payload as u32).to_le_bytes());
        record[RECORD_HEAD..RECORD_HEAD + shape.payload].copy_from_slice(payload);
    }
    let sealed = key
        .seal_in_place_separate_tag(nonce(header), Aad::from(&*header), body)
        .expect("a datagram is not too long to seal");
    tag.copy_from_slice(sealed.as_ref());
}

fn send(socket: &UdpSocket, shape: Shape, shared: &Shared) -> io::Result<()> {
    let (key, payload) = (key(), vec![3; shape.payload]);
    let mut run = vec![0; shape.segments * shape.datagram];
    let mut counter = 0;
    while !shared.stop.load(Relaxed) {
        for datagram in run.chunks_exact_mut(shape.datagram) {
            fill(datagram, shape, &key, &payload, counter);
            counter += 1;
        }
        match socket.send(&run) {
            Ok(_) => shared
                .sent
                .fetch_add((shape.segments * shape.records) as u64, Relaxed),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Opens one datagram and copies its records out; answers how many.
fn take(
    datagram: &mut [u8],
    shape: Shape,
    key: &LessSafeKey,
    sink: &mut [u8],
    at: &mut usize,
) -> u64 {
    let (header, body) = datagram.split_at_mut(HEADER);
    let body = key
        .open_in_place(nonce(header), Aad::from(&*header), body)
        .expect("what was sealed opens");
    let mut count = 0;
    for record in body.chunks_exact(shape.record) {
        let len = u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize;
        if *at + len > sink.len() {
            *at = 0;
        }
        sink[*at..*at + len].copy_from_slice(&record[RECORD_HEAD..RECORD_HEAD + len]);
        *at += len;
        count += 1;
    }
    count
}

fn receive(socket: &UdpSocket, shape: Shape, shared: &Shared) -> io::Result<()> {
    let key = key();
    let mut run = vec![0; 1 << 16];
    let (mut sink, mut at) = (vec![0; SINK_BYTES], 0);
    while !shared.stop.load(Relaxed) {
        let len = match socket.recv(&mut run) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let datagrams = run[..len].chunks_exact_mut(shape.datagram);
        let count = datagrams
            .map(|datagram| take(datagram, shape, &key, &mut sink, &mut at))
            .sum();
        shared.received.fetch_add(count, Relaxed);
    }
    std::hint::black_box(&sink);
    Ok(())
}

fn sockets(shape: Shape) -> io::Result<(UdpSocket, UdpSocket)> {
    let rx = UdpSocket::bind("127.0.0.1:0")?;
    let tx = UdpSocket::bind("127.0.0.1:0")?;
    tx.connect(rx.local_addr()?)?;
    // Past the limit of net.core.rmem_max if we may, up to it otherwise.
    for (socket, forced, plain) in [
        (&rx, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (&tx, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        set_option(socket, libc::SOL_SOCKET, forced, SOCKET_BUFFER)
            .or_else(|_| set_option(socket, libc::SOL_SOCKET, plain, SOCKET_BUFFER))?;
    }
    set_option(&rx, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    set_option(
        &tx,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        shape.datagram as libc::c_int,
    )?;
    rx.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok((tx, rx))
}

fn pinned(options: &Options, index: usize) -> io::Result<()> {
    options.pin.get(index).map_or(Ok(()), |&cpu| pin(cpu))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let shape = Shape::new(&options)?;
    let (tx, rx) = sockets(shape)?;
    let shared = Shared::default();
    let (received, sent, time, cpu) = thread::scope(|scope| -> io::Result<_> {
        let sender = scope.spawn(|| pinned(&options, 0).and_then(|()| send(&tx, shape, &shared)));
        let receiver =
            scope.spawn(|| pinned(&options, 1).and_then(|()| receive(&rx, shape, &shared)));
        thread::sleep(Duration::from_millis(300));
        let counts = || (shared.received.load(Relaxed), shared.sent.load(Relaxed));
        let (before, cpu, start) = (counts(), cpu_time(), Instant::now());
        thread::sleep(Duration::from_secs_f64(options.seconds));
        let (after, cpu, time) = (counts(), cpu_time() - cpu, start.elapsed());
        shared.stop.store(true, Relaxed);
        for thread in [sender, receiver] {
            thread.join().expect("neither thread panics")?;
        }
        Ok((after.0 - before.0, after.1 - before.1, time, cpu))
    })?;
    let rate = received as f64 / time.as_secs_f64();
    let sent_rate = sent as f64 / time.as_secs_f64();
    let cpu_ns = cpu.as_nanos() as f64 / received.max(1) as f64;
    let Shape {
        payload,
        records,
        datagram,
        segments,
        ..
    } = shape;
    if options.json {
        println!(
            "{{\"size\":{payload},\"datagram\":{datagram},\"records\":{records},\"segments\":{segments},\
             \"rate\":{rate:.0},\"sent_rate\":{sent_rate:.0},\"cpu_ns\":{cpu_ns:.1}}}"
        );
    } else {
        println!(
            "floor: {payload} B, {records} in a datagram of {datagram} B, {segments} datagrams a send: \
             {:.2} M messages/s received, {:.2} M/s sent, {cpu_ns:.0} ns of CPU for each received",
            rate / 1e6,
            sent_rate / 1e6
        );
    }
    Ok(())
}
