"""Certificates made for a test, and a service that speaks TLS with them."""

import os
import ssl
import subprocess

from origin import Origin, describe


class Authority:
    """Signs certificates; ca_file is its own."""

    def __init__(self, directory, name="test authority"):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.ca_file, self.ca_key = self.path("ca.pem"), self.path("ca.key")
        self.openssl("req", "-x509", *KEY, "-keyout", self.ca_key, "-out", self.ca_file, "-days", "2",
                     "-subj", f"/CN={name}")

    def path(self, name):
        return os.path.join(self.directory, name)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def issue(self, name, alternatives="DNS:localhost,IP:127.0.0.1"):
        """(certificate file, key file)"""
        certificate, key, request = self.path(name + ".pem"), self.path(name + ".key"), self.path(name + ".csr")
        extensions = self.path(name + ".ext")
        with open(extensions, "w") as file:
            file.write(f"subjectAltName={alternatives}\n")
        self.openssl("req", *KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self.ca_key,
                     "-CAcreateserial", "-out", certificate, "-days", "2", "-extfile", extensions)
        return certificate, key


KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class TlsOrigin(Origin):
    def __init__(self, certificate, key, handler=describe, client_ca=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.set_alpn_protocols(["http/1.1"])
        self.server_names, self.protocols, self.clients = [], [], []
        self.context.sni_callback = lambda sock, name, context: self.server_names.append(name)
        if client_ca is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        super().__init__(handler)
        self.url = f"https://localhost:{self.port}"

    def serve(self, sock):
        try:
            wrapped = self.context.wrap_socket(sock, server_side=True)
        except OSError:
            sock.close()
            return
        self.protocols.append(wrapped.selected_alpn_protocol())
        self.clients.append(wrapped.getpeercert())
        with self.lock:
            self.open_sockets.discard(sock)
            self.open_sockets.add(wrapped)
        super().serve(wrapped)
