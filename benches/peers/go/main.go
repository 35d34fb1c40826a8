// The peer on Go's net/http/fcgi: peer ADDRESS. Each request has a goroutine.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"strings"
	"time"
)

// Byte i of /bytes is i mod period.
const period = 251

var periods [period + 1<<16]byte

func main() {
	for i := range periods {
		periods[i] = byte(i % period)
	}
	listener, err := listen(os.Args[1])
	if err == nil {
		err = fcgi.Serve(listener, http.HandlerFunc(answer))
	}
	log.Fatal(err)
}

func listen(address string) (net.Listener, error) {
	if path := strings.TrimPrefix(address, "unix:"); path != address {
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", address)
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	switch r.URL.Path {
	case "/count":
		length, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%d\n", length)
	case "/bytes":
		putBytes(w, number(r, "n"))
	case "/sleep":
		ms := number(r, "ms")
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintf(w, "slept %d ms\n", ms)
	default:
		io.WriteString(w, "hello, world\n")
	}
}

func putBytes(w io.Writer, length int) {
	for position := 0; position < length; {
		piece := periods[position%period:]
		if rest := length - position; len(piece) > rest {
			piece = piece[:rest]
		}
		n, err := w.Write(piece)
		if err != nil {
			return
		}
		position += n
	}
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}
