// Client talks to one app and to nobody else: it verifies the peer's evidence in the TLS
// handshake, before it sends anything.
//
//	go run ./examples/client URL APP_ID RPC_URL KMS_AUTH [ROOT_PEM PCCS_URL]
//
// The last two are for simulated hardware, which proves nothing.
package main

import (
	"context"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bylaw/bylaw/guest/sdk/go/attest"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 && len(os.Args) != 7 {
		log.Fatal("usage: client URL APP_ID RPC_URL KMS_AUTH [ROOT_PEM PCCS_URL]")
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, arguments []string) error {
	appID, err := hex.DecodeString(strings.TrimPrefix(arguments[1], "0x"))
	if err != nil {
		return err
	}
	root, err := kms.FetchRoot(ctx, arguments[2], arguments[3])
	if err != nil {
		return err
	}
	options, err := trust(arguments[4:])
	if err != nil {
		return err
	}
	verifier, err := attest.New(options)
	if err != nil {
		return err
	}
	// Give ComposeHash too where it must be one version of the app and no other.
	transport := &http.Transport{TLSClientConfig: verifier.ClientTLS(root, attest.Expect{AppID: appID})}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	answer, err := client.Get(arguments[0])
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func trust(simulated []string) (attest.Options, error) {
	if len(simulated) == 0 {
		return attest.Options{}, nil
	}
	pem, err := os.ReadFile(simulated[0])
	if err != nil {
		return attest.Options{}, err
	}
	root, err := attest.ParseRoot(pem)
	if err != nil {
		return attest.Options{}, err
	}
	collateral, err := attest.NewPCCS(simulated[1])
	return attest.Options{Root: root, Collateral: collateral}, err
}
