//! The C client of Aeron 1.54: one client, one exclusive publication or one subscription, used by one thread.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

type Handle = *mut c_void;
type OnFragment = extern "C" fn(*mut c_void, *const u8, usize, *mut c_void);

// aeronc.h of 1.54.0. What is a pointer to an incomplete type there is a void pointer here.
unsafe extern "C" {
    fn aeron_context_init(context: *mut Handle) -> c_int;
    fn aeron_context_set_dir(context: Handle, dir: *const c_char) -> c_int;
    fn aeron_context_close(context: Handle) -> c_int;
    fn aeron_init(client: *mut Handle, context: Handle) -> c_int;
    fn aeron_start(client: Handle) -> c_int;
    fn aeron_close(client: Handle) -> c_int;
    fn aeron_errmsg() -> *const c_char;
    fn aeron_async_add_exclusive_publication(
        adding: *mut Handle,
        client: Handle,
        uri: *const c_char,
        stream: i32,
    ) -> c_int;
    fn aeron_async_add_exclusive_publication_poll(
        publication: *mut Handle,
        adding: Handle,
    ) -> c_int;
    fn aeron_exclusive_publication_is_connected(publication: Handle) -> bool;
    fn aeron_exclusive_publication_offer(
        publication: Handle,
        buffer: *const u8,
        length: usize,
        supplier: *const c_void,
        supplied: *mut c_void,
    ) -> i64;
    fn aeron_async_add_subscription(
        adding: *mut Handle,
        client: Handle,
        uri: *const c_char,
        stream: i32,
        on_available: *const c_void,
        available: *mut c_void,
        on_unavailable: *const c_void,
        unavailable: *mut c_void,
    ) -> c_int;
    fn aeron_async_add_subscription_poll(subscription: *mut Handle, adding: Handle) -> c_int;
    fn aeron_subscription_poll(
        subscription: Handle,
        on_fragment: OnFragment,
        context: *mut c_void,
        limit: usize,
    ) -> c_int;
}

/// How long a media driver may take to add what is asked for.
const ADD: Duration = Duration::from_secs(10);
const BACK_PRESSURED: i64 = -2;
const ADMIN_ACTION: i64 = -3;

fn said() -> String {
    // SAFETY: the library answers with a string of this thread that ends with a zero and lives until its next call.
    let text = unsafe { CStr::from_ptr(aeron_errmsg()) };
    text.to_string_lossy().trim().to_owned()
}

fn check(code: c_int, what: &str) -> Result<(), String> {
    if code < 0 {
        Err(format!("{what}: {}", said()))
    } else {
        Ok(())
    }
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("a zero in {text:?}"))
}

/// A client of the media driver of one directory.
pub(crate) struct Client {
    context: Handle,
    client: Handle,
}

// SAFETY: the library allows a client's calls from any thread; only the thread that owns this calls.
unsafe impl Send for Client {}

impl Client {
    pub(crate) fn connect(dir: &Path) -> Result<Self, String> {
        let dir = text(&dir.to_string_lossy())?;
        let mut this = Self {
            context: null_mut(),
            client: null_mut(),
        };
        // SAFETY: each handle is written by the call before the one that reads it; the string outlives the call, which copies it.
        unsafe {
            check(aeron_context_init(&mut this.context), "make a context")?;
            check(
                aeron_context_set_dir(this.context, dir.as_ptr()),
                "set the directory",
            )?;
            check(
                aeron_init(&mut this.client, this.context),
                "find the media driver",
            )?;
            check(aeron_start(this.client), "start the client")?;
        }
        Ok(this)
    }

    /// A publication that no other thread uses.
    pub(crate) fn publish(self, uri: &str, stream: i32) -> Result<Publication, String> {
        let (uri, mut adding) = (text(uri)?, null_mut());
        // SAFETY: the client is open; the string is copied.
        let code = unsafe {
            aeron_async_add_exclusive_publication(&mut adding, self.client, uri.as_ptr(), stream)
        };
        check(code, "add a publication")?;
        let handle = added("add a publication", |handle| {
            // SAFETY: `adding` is what the call above wrote, polled until it answers something else than 0 and never after.
            unsafe { aeron_async_add_exclusive_publication_poll(handle, adding) }
        })?;
        Ok(Publication {
            handle,
            _client: self,
        })
    }

    pub(crate) fn subscribe(self, uri: &str, stream: i32) -> Result<Subscription, String> {
        let (uri, mut adding, none) = (text(uri)?, null_mut(), null_mut());
        // SAFETY: the client is open; the string is copied; without handlers nothing is called back.
        let code = unsafe {
            let client = self.client;
            aeron_async_add_subscription(
                &mut adding,
                client,
                uri.as_ptr(),
                stream,
                none,
                none,
                none,
                none,
            )
        };
        check(code, "add a subscription")?;
        let handle = added("add a subscription", |handle| {
            // SAFETY: as for a publication.
            unsafe { aeron_async_add_subscription_poll(handle, adding) }
        })?;
        Ok(Subscription {
            handle,
            _client: self,
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: both are closed once, the client first; null means that it was never made. What was added goes with the client.
        unsafe {
            if !self.client.is_null() {
                aeron_close(self.client);
            }
            if !self.context.is_null() {
                aeron_context_close(self.context);
            }
        }
    }
}

fn added(what: &str, mut poll: impl FnMut(*mut Handle) -> c_int) -> Result<Handle, String> {
    let (mut handle, deadline) = (null_mut(), Instant::now() + ADD);
    loop {
        let code = poll(&mut handle);
        check(code, what)?;
        if code > 0 {
            return Ok(handle);
        }
        if Instant::now() >= deadline {
            return Err(format!("{what}: the media driver does not answer"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An exclusive publication.
pub(crate) struct Publication {
    handle: Handle,
    _client: Client,
}

// SAFETY: an exclusive publication is for one thread at a time: the one that owns this.
unsafe impl Send for Publication {}

impl Publication {
    pub(crate) fn is_connected(&self) -> bool {
        // SAFETY: the handle lives as long as the client, which is closed after this.
        unsafe { aeron_exclusive_publication_is_connected(self.handle) }
    }

    /// Whether there was room. The message must fit into one datagram.
    pub(crate) fn offer(&mut self, message: &[u8]) -> Result<bool, String> {
        // SAFETY: the handle lives; the buffer is read within the call; no reserved value is asked for.
        let position = unsafe {
            let (buffer, length) = (message.as_ptr(), message.len());
            aeron_exclusive_publication_offer(
                self.handle,
                buffer,
                length,
                std::ptr::null(),
                null_mut(),
            )
        };
        match position {
            BACK_PRESSURED | ADMIN_ACTION => Ok(false),
            code if code < 0 => Err(format!("offer: code {code}: {}", said())),
            _ => Ok(true),
        }
    }
}

/// A subscription.
pub(crate) struct Subscription {
    handle: Handle,
    _client: Client,
}

// SAFETY: it is polled by the one thread that owns this.
unsafe impl Send for Subscription {}

impl Subscription {
    /// Gives at most `limit` messages to `take`; answers how many.
    pub(crate) fn poll<F: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        mut take: F,
    ) -> Result<usize, String> {
        // SAFETY: the handle lives; `take` outlives the call, which calls back only within itself, on this thread.
        let count = unsafe {
            let context = (&raw mut take).cast();
            aeron_subscription_poll(self.handle, give::<F>, context, limit)
        };
        usize::try_from(count).map_err(|_| format!("poll: {}", said()))
    }
}

extern "C" fn give<F: FnMut(&[u8])>(
    take: *mut c_void,
    buffer: *const u8,
    length: usize,
    _header: *mut c_void,
) {
    // SAFETY: `take` is the pointer that `poll` gave, to an `F` that nothing else uses meanwhile; the buffer is `length` bytes
    // of the log, which stay during the call.
    unsafe { (*take.cast::<F>())(std::slice::from_raw_parts(buffer, length)) }
}
