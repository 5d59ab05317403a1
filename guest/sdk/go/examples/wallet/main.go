// Wallet shows the app's Ethereum and Solana addresses, and proves that the KMS of a
// contract derived their keys.
//
//	go run ./examples/wallet RPC_URL KMS_AUTH
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/account"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: wallet RPC_URL KMS_AUTH")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, rpcURL, kmsAuth string) error {
	root, err := kms.FetchRoot(ctx, rpcURL, kmsAuth)
	if err != nil {
		return err
	}
	client, err := bylaw.New(bylaw.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	info, err := client.Info(ctx)
	if err != nil {
		return err
	}
	// One path for each algorithm: the key itself does not depend on it.
	ethereumKey, err := client.GetKey(ctx, "wallet/ethereum", "mainnet", bylaw.Secp256k1)
	if err != nil {
		return err
	}
	if _, err := kms.VerifyDerivedKey(root, info.AppID, "mainnet", bylaw.Secp256k1, ethereumKey); err != nil {
		return err
	}
	solanaKey, err := client.GetKey(ctx, "wallet/solana", "mainnet", bylaw.Ed25519)
	if err != nil {
		return err
	}
	if _, err := kms.VerifyDerivedKey(root, info.AppID, "mainnet", bylaw.Ed25519, solanaKey); err != nil {
		return err
	}
	ethereum, err := account.NewEthereum(ethereumKey)
	if err != nil {
		return err
	}
	solana, err := account.NewSolana(solanaKey)
	if err != nil {
		return err
	}
	fmt.Println("ethereum", ethereum)
	fmt.Println("solana  ", solana)
	return nil
}
