// Command dex is Dex's own server, an OpenID Connect provider, with people and clients that the tests know.
//
// It keeps everything in memory, its keys too: one that is started again signs by others. Alice and Bob sign in
// by a password; the connector "mock" is Dex's own, and says that somebody of the group "authors" has signed in.
// It is built here since no package registry has the binary; not from Dex's own main, which needs cgo for a
// database.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5556", "address")
	back := flag.String("redirect", "", "the redirect URI of the client sluice")
	secret := flag.String("secret", "", "the secret of the client sluice")
	flag.Parse()

	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	clients := []storage.Client{
		{ID: "sluice", Name: "Sluice", Secret: *secret, RedirectURIs: []string{*back}},
		{ID: "other", Name: "Another application", Secret: *secret, RedirectURIs: []string{*back}},
	}
	connectors := []storage.Connector{
		{ID: server.LocalConnector, Name: "Password", Type: server.LocalConnector},
		{ID: "mock", Name: "Mock", Type: "mockCallback"},
	}
	keeper := storage.WithStaticClients(memory.New(logger), clients)
	keeper = storage.WithStaticPasswords(keeper, []storage.Password{person("alice"), person("bob")}, logger)
	keeper = storage.WithStaticConnectors(keeper, connectors)

	issuer := "http://" + *listen + "/dex"
	dex, err := server.NewServer(context.Background(), server.Config{
		Issuer:             issuer,
		Storage:            keeper,
		SkipApprovalScreen: true,
		PasswordConnector:  server.LocalConnector,
		IDTokensValidFor:   5 * time.Minute,
		Logger:             logger,
		PrometheusRegistry: prometheus.NewRegistry(),
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, dex))
}

// Somebody at example.org whose password is "password of NAME".
func person(name string) storage.Password {
	hash, err := bcrypt.GenerateFromPassword([]byte("password of "+name), bcrypt.DefaultCost)
	if err != nil {
		log.Fatal(err)
	}
	return storage.Password{Email: name + "@example.org", Username: name, UserID: name, Hash: hash}
}
