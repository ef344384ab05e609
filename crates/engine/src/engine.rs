//! `pronghorn._engine.Engine`: the worker as Python sees it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pronghorn_proto::http1::DefaultHeaders;
use pronghorn_proto::limits::{Http2Limits, Limits, WebSocketLimits};
use pronghorn_proto::websocket::Shared;
use pronghorn_proto::websocket::deflate::DeflateLimits;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};

use crate::access_log::{AccessLog, AccessLogHooks, Escape, Template};
use crate::asgi::application::{Application, WebSockets};
use crate::asgi::awaitable;
use crate::asgi::message::{MessageMaker, ReceivedMessages};
use crate::asgi::scope::ScopeMaker;
use crate::asgi::task::{Asyncio, TaskMaker};
use crate::ffi::all_tasks::AllTasks;
use crate::ffi::call::keyword_names;
use crate::ffi::capture::Capture;
use crate::ffi::error::Raised;
use crate::ffi::fd;
use crate::ffi::function::SpareFunctions;
use crate::ffi::object::Object;
use crate::ffi::owner::{Owner, ThreadBound};
use crate::ffi::shared::shared_words;
use crate::ffi::text;
use crate::load::SharedLoad;
use crate::settings::Settings;
use crate::static_files::StaticFiles;
use crate::stream::Handshakes;
use crate::tls::Tls;
use crate::worker::{Callbacks, EventLoop, FutureMaker, Worker};

/// Serves one ASGI application; documented in `_engine.pyi`.
#[pyclass(frozen, module = "pronghorn._engine")]
pub struct Engine {
    worker: ThreadBound<Rc<Worker>>,
}

/// The options that say what peers may do and what the engine may use, as `Config` has them.
#[derive(FromPyObject)]
struct EngineOptions {
    limit_concurrency: Option<usize>,
    limit_concurrency_exempt: Option<Vec<String>>,
    limit_request_line: usize,
    limit_request_headers: usize,
    request_header_bytes_max: usize,
    limit_request_body: Option<u64>,
    min_request_body_rate: f64,
    min_response_rate: f64,
    timeout_request_header: f64,
    timeout_request_body: f64,
    timeout_keep_alive: f64,
    timeout_write: f64,
    http2: bool,
    http2_max_concurrent_streams: u32,
    http2_initial_stream_window_size: u32,
    http2_initial_connection_window_size: u32,
    http2_max_frame_size: u32,
    http2_max_header_list_size: u32,
    io_uring: bool,
}

impl EngineOptions {
    fn settings(self, has_websockets: bool) -> PyResult<Settings> {
        let limits = Limits {
            request_line_bytes_max: self.limit_request_line,
            header_bytes_max: self.request_header_bytes_max,
            headers_max: self.limit_request_headers,
            body_bytes_max: self.limit_request_body.unwrap_or(u64::MAX),
            request_header_timeout: duration(
                "timeout_request_header",
                self.timeout_request_header,
            )?,
            request_body_timeout: duration("timeout_request_body", self.timeout_request_body)?,
            request_body_window_bytes_min: window_bytes(
                self.min_request_body_rate,
                self.timeout_request_body,
            ),
            keep_alive_timeout: duration("timeout_keep_alive", self.timeout_keep_alive)?,
            write_timeout: duration("timeout_write", self.timeout_write)?,
            write_window_bytes_min: window_bytes(self.min_response_rate, self.timeout_write),
            http2: Http2Limits {
                streams_max: self.http2_max_concurrent_streams,
                stream_window_bytes: self.http2_initial_stream_window_size,
                connection_window_bytes: self.http2_initial_connection_window_size,
                frame_bytes_max: self.http2_max_frame_size,
                header_list_bytes_max: self.http2_max_header_list_size,
                tunnels: has_websockets,
            },
            ..Limits::default()
        };
        Ok(Settings {
            limits,
            concurrency_max: self.limit_concurrency,
            concurrency_exempt: self.limit_concurrency_exempt.unwrap_or_default(),
            http2: self.http2,
            io_uring: self.io_uring,
        })
    }
}

/// The options for WebSocket, as `Config` has them.
#[derive(Clone, Copy, FromPyObject)]
#[allow(clippy::struct_field_names, reason = "the names of the options")]
struct WebSocketOptions {
    ws_max_size: usize,
    ws_max_queue: usize,
    ws_ping_interval: Option<f64>,
    ws_ping_timeout: Option<f64>,
    ws_per_message_deflate: bool,
    ws_deflate_window_bits: u8,
    ws_deflate_context_takeover: bool,
    ws_deflate_codecs: usize,
}

impl WebSocketOptions {
    fn websockets(self, py: Python<'_>) -> PyResult<WebSockets> {
        let seconds =
            |name, value: Option<f64>| value.map(|value| duration(name, value)).transpose();
        let limits = WebSocketLimits {
            message_bytes_max: self.ws_max_size,
            ping_interval: seconds("ws_ping_interval", self.ws_ping_interval)?,
            ping_timeout: seconds("ws_ping_timeout", self.ws_ping_timeout)?,
            ..WebSocketLimits::default()
        };
        let deflate = self.ws_per_message_deflate.then_some(DeflateLimits {
            window_bits: self.ws_deflate_window_bits,
            context_takeover: self.ws_deflate_context_takeover,
            codecs_max: self.ws_deflate_codecs,
        });
        let disconnected = py.import("pronghorn.errors")?.getattr("ClientDisconnected")?;
        Ok(WebSockets {
            limits,
            queue_max: self.ws_max_queue,
            shared: RefCell::new(Shared::new(deflate.as_ref())),
            deflate,
            spare_buffers: RefCell::default(),
            received_messages: ReceivedMessages::new().map_err(|raised| raised.into_error(py))?,
            disconnected: Object::from_bound(&disconnected),
        })
    }
}

/// Directories by their routes, and content types by endings of names.
#[derive(FromPyObject)]
struct StaticOptions {
    routes: Vec<(Vec<u8>, Vec<u8>)>,
    content_types: Vec<(Vec<u8>, Vec<u8>)>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        app, event_loop, *, state, root_path, default_headers, date_header, limits,
        websocket, log, log_exception, access_log, trust_proxy, on_loop, static_files,
        is_proxy
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments on the Python side")]
    fn new(
        app: &Bound<'_, PyAny>,
        event_loop: &Bound<'_, PyAny>,
        state: &Bound<'_, PyDict>,
        root_path: &str,
        default_headers: &Bound<'_, PyAny>,
        date_header: bool,
        limits: EngineOptions,
        websocket: Option<WebSocketOptions>,
        log: &Bound<'_, PyAny>,
        log_exception: &Bound<'_, PyAny>,
        access_log: Option<&Bound<'_, PyAny>>,
        trust_proxy: Option<&Bound<'_, PyAny>>,
        on_loop: &Bound<'_, PyAny>,
        static_files: Option<StaticOptions>,
        is_proxy: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = app.py();
        let settings = limits.settings(websocket.is_some())?;
        let raised = |raised: Raised| raised.into_error(py);
        let scopes = ScopeMaker::new(root_path, &Object::from_bound(state)).map_err(raised)?;
        let messages = MessageMaker::new(scopes.empty_bytes()).map_err(raised)?;
        let application = Rc::new(Application {
            callable: Object::from_bound(app),
            scopes,
            messages,
            tasks: task_maker(event_loop)?,
            ready: awaitable::ready().map_err(raised)?,
            spare_functions: SpareFunctions::default(),
            log: Object::from_bound(log),
            log_exception: Object::from_bound(log_exception),
            access_log: access_log.map(self::access_log).transpose()?,
            owner: Owner::current(),
            on_loop: Object::from_bound(on_loop),
            websockets: websocket.map(|options| options.websockets(py)).transpose()?,
        });
        let method =
            |name: &str| event_loop.getattr(name).map(|method| Object::from_bound(&method));
        let functions = EventLoop {
            context: Object::from_bound(&py.import("contextvars")?.call_method0("copy_context")?),
            context_keyword: keyword_names(&["context"]).map_err(raised)?,
            call_soon: method("call_soon")?,
            call_later: method("call_later")?,
            futures: future_maker(event_loop)?,
        };
        let defaults = DefaultHeaders::new(header_lines(default_headers)?, date_header);
        let trust_proxy = trust_proxy.map(Object::from_bound);
        let static_files =
            static_files.map(|files| StaticFiles::new(files.routes, files.content_types));
        let is_proxy = is_proxy.map(Object::from_bound);
        let worker = Worker::new(
            settings,
            application,
            trust_proxy,
            static_files,
            is_proxy,
            functions,
            defaults,
        )?;
        let this = Rc::downgrade(&worker);
        worker.set_callbacks(Callbacks {
            attend: callback(py, this.clone(), Worker::attend)?,
            on_timer: callback(py, this, Worker::on_timer)?,
        });
        Ok(Self { worker: ThreadBound::new(worker) })
    }

    fn fileno(&self) -> PyResult<i32> {
        Ok(self.worker()?.descriptor()?)
    }

    fn on_ready(&self, py: Python<'_>) -> PyResult<()> {
        self.worker()?.on_ready().map_err(|raised| raised.into_error(py))
    }

    #[pyo3(signature = (listener, tls=None))]
    fn listen(&self, listener: &Bound<'_, PyAny>, tls: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let descriptor = listener.call_method0("fileno")?.extract()?;
        let tls = tls.map(Tls::new).transpose()?;
        Ok(self.worker()?.listen(fd::duplicate(descriptor)?, tls)?)
    }

    fn share_load(&self, words: &Bound<'_, PyAny>, row_words: usize, own: usize) -> PyResult<()> {
        self.worker()?.share_load(SharedLoad::new(shared_words(words)?, row_words, own)?);
        Ok(())
    }

    #[pyo3(signature = (*, leave_waiting = false))]
    fn stop_listening(&self, leave_waiting: bool) -> PyResult<()> {
        self.worker()?.stop_listening(leave_waiting);
        Ok(())
    }

    #[pyo3(signature = (idle_grace_s, *, is_replaced = false))]
    fn drain(&self, idle_grace_s: f64, is_replaced: bool) -> PyResult<()> {
        let handshakes = if is_replaced { Handshakes::Kept } else { Handshakes::Refused };
        self.worker()?.drain(duration("idle_grace_s", idle_grace_s)?, handshakes);
        Ok(())
    }

    fn announce_end(&self) -> PyResult<()> {
        self.worker()?.announce_end();
        Ok(())
    }

    fn close(&self) -> PyResult<()> {
        self.worker()?.close();
        Ok(())
    }

    #[getter]
    fn connection_count(&self) -> PyResult<usize> {
        Ok(self.worker()?.connection_count())
    }

    #[getter]
    fn lingering_count(&self) -> PyResult<usize> {
        Ok(self.worker()?.lingering_count())
    }

    #[getter]
    fn task_count(&self) -> PyResult<usize> {
        Ok(self.worker()?.task_count())
    }

    #[getter]
    fn tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let tasks = self.worker()?.tasks();
        PyList::new(py, tasks.into_iter().map(|task| task.into_bound(py)))
    }

    #[getter]
    fn accepted_count(&self) -> PyResult<u64> {
        Ok(self.worker()?.accepted_count())
    }

    #[getter]
    fn request_count(&self) -> PyResult<u64> {
        Ok(self.worker()?.request_count())
    }
}

impl Engine {
    fn worker(&self) -> PyResult<&Rc<Worker>> {
        self.worker.get().ok_or_else(|| {
            PyRuntimeError::new_err("an Engine can only be used on the thread that made it")
        })
    }
}

/// A callable for the loop that does nothing once the worker is gone.
fn callback(py: Python<'_>, worker: Weak<Worker>, run: fn(&Worker)) -> PyResult<Object> {
    let worker = ThreadBound::new(worker);
    let function = PyCFunction::new_closure(py, None, None, move |_, _| {
        if let Some(worker) = worker.get().and_then(Weak::upgrade) {
            run(&worker);
        }
    })?;
    Ok(Object::from_bound(function.as_any()))
}

/// Calls the class itself where `create_future` does nothing else.
fn future_maker(event_loop: &Bound<'_, PyAny>) -> PyResult<FutureMaker> {
    let py = event_loop.py();
    let own = |object: &Bound<'_, PyAny>| Object::from_bound(object);
    let method = event_loop.get_type().getattr("create_future")?;
    let modules = py.import("sys")?.getattr("modules")?;
    let mut is_known = false;
    for (module, class) in [("asyncio.base_events", "BaseEventLoop"), ("uvloop.loop", "Loop")] {
        let module = modules.call_method1("get", (module,))?;
        if !module.is_none() {
            is_known |= module.getattr(class)?.getattr("create_future")?.is(&method);
        }
    }
    if !is_known || event_loop.getattr("__dict__")?.contains("create_future")? {
        return Ok(FutureMaker::Method(own(&event_loop.getattr("create_future")?)));
    }
    let keywords = PyDict::new(py);
    keywords.set_item("loop", event_loop)?;
    Ok(FutureMaker::Class(
        own(&py.import("asyncio.futures")?.getattr("Future")?),
        own(PyTuple::empty(py).as_any()),
        own(keywords.as_any()),
    ))
}

fn task_maker(event_loop: &Bound<'_, PyAny>) -> PyResult<TaskMaker> {
    let py = event_loop.py();
    let own = |object: Bound<'_, PyAny>| Object::from_bound(&object);
    let raised = |raised: Raised| raised.into_error(py);
    let call_soon = own(event_loop.getattr("call_soon")?);
    let attributes = own(event_loop.getattr("__dict__")?);
    let capture = Capture::new(attributes, call_soon).map_err(raised)?;
    let has_eager_tasks = py.version_info() >= (3, 12);
    let all_tasks = if has_eager_tasks { None } else { all_tasks(py)? };
    // `nest_asyncio` does not know others.
    let can_be_nested = event_loop.is_instance(&py.import("asyncio")?.getattr("BaseEventLoop")?)?;
    TaskMaker::new(Asyncio {
        task_type: own(py.import("asyncio")?.getattr("Task")?),
        event_loop: Object::from_bound(event_loop),
        create_task: own(event_loop.getattr("create_task")?),
        task_factory: own(event_loop.getattr("get_task_factory")?),
        capture,
        all_tasks,
        has_eager_tasks,
        nested_mark: can_be_nested
            .then(|| text::ascii(b"_nest_patched"))
            .transpose()
            .map_err(raised)?,
    })
    .map_err(raised)
}

/// The set of all tasks, unless it is not that of `CPython` 3.11 or has been changed already.
fn all_tasks(py: Python<'_>) -> PyResult<Option<AllTasks>> {
    let tasks = py.import("asyncio.tasks")?.getattr("_all_tasks")?;
    let is_known = tasks.get_type().is(&py.import("weakref")?.getattr("WeakSet")?)
        && !tasks.getattr("__dict__")?.contains("add")?;
    if !is_known {
        return Ok(None);
    }
    let entered = AllTasks::new(&Object::from_bound(&tasks));
    entered.map(Some).map_err(|raised| raised.into_error(py))
}

fn access_log(log: &Bound<'_, PyAny>) -> PyResult<AccessLog> {
    let method = |name: &str| log.getattr(name).map(|method| Object::from_bound(&method));
    let hooks = AccessLogHooks {
        record: method("record")?,
        record_line: method("record_line")?,
        is_plain: method("is_plain")?,
        write: method("write")?,
    };
    let escape = if log.getattr("is_json")?.extract()? { Escape::Json } else { Escape::Plain };
    let template = match log.getattr("template")?.extract::<Option<Vec<(String, Vec<u8>)>>>()? {
        None => None,
        Some(pieces) => Some(Template::new(pieces, escape).ok_or_else(|| {
            PyValueError::new_err("the access log's template has a piece of an unknown kind")
        })?),
    };
    Ok(AccessLog::new(hooks, template))
}

fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{name} must not be negative, not `{seconds}`")))
}

/// What must move within a window, at least something.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
fn window_bytes(bytes_per_s: f64, window_s: f64) -> u64 {
    ((bytes_per_s * window_s) as u64).max(1)
}

/// The operator's header lines; what would not be valid on the wire is refused here, once.
fn header_lines(headers: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut lines = Vec::new();
    for header in headers.try_iter()? {
        let (name, value) = header?.extract::<(Vec<u8>, Vec<u8>)>()?;
        pronghorn_proto::http1::write_field_line(&name, &value, &mut lines)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
    }
    Ok(lines)
}
