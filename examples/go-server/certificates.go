package main

import (
	"crypto/x509"
	"fmt"
	"net/http"
)

// Says whether the certificate authorities that outgoing TLS needs came along into the image.
func certificates(w http.ResponseWriter, _ *http.Request) {
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		http.Error(w, "no certificate authorities", http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "certificate authorities found")
}
