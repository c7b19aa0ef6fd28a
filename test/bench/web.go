package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// web is an HTTP server of a peer's on loopback, and its client.
type web struct {
	url    string
	client *http.Client
	server *http.Server
	served chan error
}

func startWeb(handler http.Handler) (*web, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &web{
		url: "http://" + l.Addr().String(), served: make(chan error, 1),
		client: &http.Client{Transport: new(http.Transport), Timeout: time.Minute},
		server: &http.Server{Handler: handler},
	}
	go func() { w.served <- w.server.Serve(l) }()
	return w, nil
}

// post sends a form and returns the answer.
func (w *web) post(ctx context.Context, path string, form url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("POST %s: %s: %.200s", path, resp.Status, answer)
	}
	return answer, err
}

// close waits for what is being answered.
func (w *web) close() error {
	w.client.CloseIdleConnections()
	err := w.server.Shutdown(context.Background())
	if ended := <-w.served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
