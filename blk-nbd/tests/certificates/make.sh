#!/bin/sh
# Makes the certificates of the tests anew, by OpenSSL: an authority, a server and a client that it has signed,
# and another authority that has signed nothing. They are for tests alone: their keys are public.
set -eu
cd "$(dirname "$0")"
days=36500

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

authority() { # folder name
	mkdir -p "$1"
	key "$1/ca-key.pem"
	openssl req -x509 -new -key "$1/ca-key.pem" -subj "/CN=$2" -days $days -out "$1/ca-cert.pem" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

signed() { # folder, server or client, names
	key "$1/$2-key.pem"
	openssl req -new -key "$1/$2-key.pem" -subj "/CN=$2" -out "$1/request.pem"
	printf 'keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=%sAuth\n%s' "$2" "$3" > "$1/extensions"
	openssl x509 -req -in "$1/request.pem" -CA "$1/ca-cert.pem" -CAkey "$1/ca-key.pem" -days $days \
		-extfile "$1/extensions" -out "$1/$2-cert.pem"
	rm "$1/request.pem" "$1/extensions"
}

rm -rf ours other
authority ours "Authority of tests"
signed ours server subjectAltName=DNS:localhost,IP:127.0.0.1
signed ours client ''
authority other "Another authority"
signed other client ''
rm ours/ca-key.pem other/ca-key.pem
