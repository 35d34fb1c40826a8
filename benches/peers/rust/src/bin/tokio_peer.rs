//! The peer on tokio-fastcgi: tokio_peer ADDRESS. A task for each connection, as in its examples; requests of one
//! connection follow each other, because it panics when two of them write at once.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use peers::{pieces, Route, HEAD, HELLO};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio_fastcgi::{Error, Request, RequestResult, Requests};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).expect("an address");
    // As many threads as there are CPUs that this process may use.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(listen(&address))
}

async fn listen(address: &str) -> io::Result<()> {
    if let Some(path) = address.strip_prefix("unix:") {
        let listener = UnixListener::bind(path)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (reader, writer) = stream.into_split();
            tokio::spawn(serve(reader, writer));
        }
    }
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        tokio::spawn(serve(reader, writer));
    }
}

async fn serve<R, W>(reader: R, writer: W)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    // It reads headers and contents one by one, and would make a system call for each.
    let reader = BufReader::with_capacity(64 << 10, reader);
    let mut requests = Requests::new(reader, writer, u8::MAX, u8::MAX);
    while let Ok(Some(request)) = requests.next().await {
        let processed = request.process(|request| async move { answer(request).await.expect("an answer") }).await;
        if processed.is_err() {
            return;
        }
    }
}

async fn answer<W: AsyncWrite + Unpin + Send>(request: Arc<Request<W>>) -> Result<RequestResult, Error> {
    let mut stdout = request.get_stdout();
    let param = |name| request.get_str_param(name).unwrap_or_default();
    match Route::of(param("script_name"), param("query_string")) {
        Route::Hello => drop(stdout.write(HELLO.as_bytes()).await?),
        Route::Count => {
            let length = count(&mut *request.get_stdin())?;
            stdout.write(format!("{HEAD}{length}\n").as_bytes()).await?;
        }
        Route::Bytes(length) => {
            stdout.write(HEAD.as_bytes()).await?;
            for piece in pieces(length) {
                stdout.write(piece).await?;
            }
        }
        Route::Sleep(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            stdout.write(format!("{HEAD}slept {ms} ms\n").as_bytes()).await?;
        }
    }
    Ok(RequestResult::Complete(0))
}

fn count(body: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok(length),
            n => length += n as u64,
        }
    }
}
