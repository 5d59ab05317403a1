// Server serves HTTPS with a certificate that carries evidence of this VM.
//
//	go run ./examples/server ADDRESS
package main

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: server ADDRESS")
	}
	log.Fatal(run(context.Background(), os.Args[1]))
}

func run(ctx context.Context, address string) error {
	client, err := bylaw.New(bylaw.Options{})
	if err != nil {
		return err
	}
	key, err := client.GetTLSKey(ctx, bylaw.TLSKeyOptions{Subject: "hello", RATLS: true})
	if err != nil {
		return err
	}
	identity, err := tls.X509KeyPair([]byte(strings.Join(key.CertificateChain, "\n")), key.Key.Expose())
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{identity}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello from a confidential VM\n")
		}),
	}
	return server.ListenAndServeTLS("", "")
}
