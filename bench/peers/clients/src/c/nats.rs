//! libnats, the C client of NATS: one connection that publishes or subscribes.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

type Handle = *mut c_void;
type OnMessage = extern "C" fn(Handle, Handle, Handle, *mut c_void);
type OnComplete = extern "C" fn(*mut c_void);

// nats.h of 3.4. What is a pointer to an incomplete type there is a void pointer here; natsStatus is an enum, 0 is success.
unsafe extern "C" {
    fn natsOptions_Create(options: *mut Handle) -> c_int;
    fn natsOptions_SetURL(options: Handle, url: *const c_char) -> c_int;
    fn natsOptions_SetSendAsap(options: Handle, on: bool) -> c_int;
    fn natsOptions_SetIOBufSize(options: Handle, bytes: c_int) -> c_int;
    fn natsOptions_SetSecure(options: Handle, on: bool) -> c_int;
    fn natsOptions_LoadCATrustedCertificates(options: Handle, file: *const c_char) -> c_int;
    fn natsOptions_Destroy(options: Handle);
    fn natsConnection_Connect(connection: *mut Handle, options: Handle) -> c_int;
    fn natsConnection_Publish(
        connection: Handle,
        subject: *const c_char,
        payload: *const u8,
        length: c_int,
    ) -> c_int;
    fn natsConnection_Subscribe(
        subscription: *mut Handle,
        connection: Handle,
        subject: *const c_char,
        on_message: OnMessage,
        context: *mut c_void,
    ) -> c_int;
    fn natsConnection_FlushTimeout(connection: Handle, ms: i64) -> c_int;
    fn natsConnection_Destroy(connection: Handle);
    fn natsSubscription_SetPendingLimits(
        subscription: Handle,
        messages: c_int,
        bytes: c_int,
    ) -> c_int;
    fn natsSubscription_SetOnCompleteCB(
        subscription: Handle,
        on_complete: OnComplete,
        context: *mut c_void,
    ) -> c_int;
    fn natsSubscription_Unsubscribe(subscription: Handle) -> c_int;
    fn natsSubscription_Destroy(subscription: Handle);
    fn natsMsg_GetData(message: Handle) -> *const u8;
    fn natsMsg_GetDataLength(message: Handle) -> c_int;
    fn natsMsg_Destroy(message: Handle);
    fn natsStatus_GetText(status: c_int) -> *const c_char;
}

const FLUSH_MS: i64 = 5_000;
/// How long the handler may still run after the subscription ended.
const COMPLETE: Duration = Duration::from_secs(5);

fn check(status: c_int, what: &str) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the library answers with a constant string for every status.
    let text = unsafe { CStr::from_ptr(natsStatus_GetText(status)) };
    Err(format!("{what}: {}", text.to_string_lossy()))
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("a zero in {text:?}"))
}

/// Gets the messages of a subscription, on a thread of the library.
pub(crate) trait Take: Send {
    fn take(&mut self, payload: &[u8]);
}

/// How to connect.
pub(crate) struct Options<'a> {
    pub(crate) url: &'a str,
    /// The authority's certificate: the connection is encrypted.
    pub(crate) authority: Option<&'a Path>,
    /// Each message is written at once, not with those that follow within a moment.
    pub(crate) asap: bool,
    /// Bytes of the buffers for reading and writing.
    pub(crate) buffer: u32,
}

/// A connection to the server.
pub(crate) struct Connection(Handle);

// SAFETY: the library allows calls on a connection from any thread.
unsafe impl Send for Connection {}

impl Connection {
    pub(crate) fn open(options: &Options<'_>) -> Result<Self, String> {
        let url = text(options.url)?;
        let file = options.authority.map(|path| text(&path.to_string_lossy()));
        let file = file.transpose()?;
        let (mut settings, mut connection) = (null_mut(), null_mut());
        // SAFETY: `settings` is made before it is used and destroyed once, after the connection took a copy; strings outlive
        // the calls, which copy them.
        let opened = unsafe {
            check(natsOptions_Create(&mut settings), "make options")?;
            let opened = connect(settings, &url, file.as_deref(), options, &mut connection);
            natsOptions_Destroy(settings);
            opened
        };
        opened.map(|()| Self(connection))
    }

    /// Hands a message to the library, which writes it now or soon.
    pub(crate) fn publish(&mut self, subject: &CStr, payload: &[u8]) -> Result<(), String> {
        let length = c_int::try_from(payload.len()).map_err(|error| error.to_string())?;
        // SAFETY: the connection is open; the payload is copied or written within the call.
        let status =
            unsafe { natsConnection_Publish(self.0, subject.as_ptr(), payload.as_ptr(), length) };
        check(status, "publish")
    }

    /// Waits until the server has everything.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        // SAFETY: the connection is open.
        check(
            unsafe { natsConnection_FlushTimeout(self.0, FLUSH_MS) },
            "flush",
        )
    }

    /// Gives every message to `take`, on a thread of the library.
    pub(crate) fn subscribe<F: Take>(
        mut self,
        subject: &CStr,
        take: F,
    ) -> Result<Subscription<F>, String> {
        let (ended, completed) = channel();
        let context = Box::into_raw(Box::new(Context { take, ended }));
        let mut handle = null_mut();
        // SAFETY: the connection is open; the context lives until the handler is known to be over, or for ever.
        let subscribed = unsafe {
            let (subject, context) = (subject.as_ptr(), context.cast());
            check(
                natsConnection_Subscribe(&mut handle, self.0, subject, give::<F>, context),
                "subscribe",
            )
        };
        subscribed?;
        // SAFETY: the subscription was just made; without limits nothing is dropped here.
        unsafe {
            check(
                natsSubscription_SetPendingLimits(handle, -1, -1),
                "lift the limits",
            )?;
            check(
                natsSubscription_SetOnCompleteCB(handle, complete::<F>, context.cast()),
                "ask to be told of the end",
            )?;
        }
        self.flush()?;
        Ok(Subscription {
            connection: self,
            handle,
            context,
            completed,
        })
    }
}

/// # Safety
/// `settings` are open options.
unsafe fn connect(
    settings: Handle,
    url: &CStr,
    authority: Option<&CStr>,
    options: &Options<'_>,
    connection: &mut Handle,
) -> Result<(), String> {
    let buffer = c_int::try_from(options.buffer).map_err(|error| error.to_string())?;
    // SAFETY: the caller's; strings are copied.
    unsafe {
        check(
            natsOptions_SetURL(settings, url.as_ptr()),
            "set the address",
        )?;
        check(
            natsOptions_SetSendAsap(settings, options.asap),
            "set send-asap",
        )?;
        check(
            natsOptions_SetIOBufSize(settings, buffer),
            "set the buffer size",
        )?;
        if let Some(file) = authority {
            check(natsOptions_SetSecure(settings, true), "ask for TLS")?;
            check(
                natsOptions_LoadCATrustedCertificates(settings, file.as_ptr()),
                "load the authority",
            )?;
        }
        check(natsConnection_Connect(connection, settings), "connect")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        unsafe { natsConnection_Destroy(self.0) }
    }
}

struct Context<F> {
    take: F,
    ended: Sender<()>,
}

/// A subscription whose messages a thread of the library gives to an `F`.
pub(crate) struct Subscription<F> {
    connection: Connection,
    handle: Handle,
    context: *mut Context<F>,
    completed: Receiver<()>,
}

impl<F: Take> Subscription<F> {
    /// Ends it and gives `F` back.
    pub(crate) fn finish(self) -> Result<F, String> {
        // SAFETY: the subscription is open.
        let status = unsafe { natsSubscription_Unsubscribe(self.handle) };
        check(status, "unsubscribe")?;
        self.completed
            .recv_timeout(COMPLETE)
            .map_err(|_| "the handler does not end".to_owned())?;
        // SAFETY: after the word of completion nothing calls the handler any more, so that nobody else has the context; the
        // subscription is destroyed once, before its connection.
        let context = unsafe {
            natsSubscription_Destroy(self.handle);
            Box::from_raw(self.context)
        };
        drop(self.connection);
        Ok(context.take)
    }
}

extern "C" fn give<F: Take>(
    _connection: Handle,
    _subscription: Handle,
    message: Handle,
    context: *mut c_void,
) {
    // SAFETY: the context is that of `subscribe`, which only this handler uses, on one thread at a time; a message's bytes stay
    // until it is destroyed, once, here. An empty one may have none.
    unsafe {
        let length = usize::try_from(natsMsg_GetDataLength(message)).unwrap_or(0);
        if length > 0 {
            let payload = std::slice::from_raw_parts(natsMsg_GetData(message), length);
            (*context.cast::<Context<F>>()).take.take(payload);
        }
        natsMsg_Destroy(message);
    }
}

extern "C" fn complete<F>(context: *mut c_void) {
    // SAFETY: the context is that of `subscribe`; `finish` frees it only after this word.
    let ended = unsafe { (*context.cast::<Context<F>>()).ended.clone() };
    // The receiver is gone: nobody waits.
    let _ = ended.send(());
}
