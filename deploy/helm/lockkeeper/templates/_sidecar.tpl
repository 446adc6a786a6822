{{- /*
The container, as an item of initContainers (nativeSidecar) or of containers.  In the chart of a service
that has this one as its dependency `lockkeeper`:

      initContainers:
        {{ include "lockkeeper.sidecar" (dict "Values" .Values.lockkeeper "Release" .Release) | nindent 8 }}

The pods need the label lockkeeper: enabled.
*/ -}}
{{- define "lockkeeper.sidecar" -}}
- name: lockkeeper
  image: "{{ .Values.image.name }}:{{ .Values.image.tag }}"
  {{- if .Values.nativeSidecar }}
  restartPolicy: Always
  {{- end }}
  args: [run, /etc/lockkeeper/policies]
  env:
    - name: REDIS_URL
      valueFrom:
        secretKeyRef: { name: {{ .Values.storeSecret }}, key: url }
  ports:
    - { name: lk-proxy, containerPort: 8080 }
    - { name: lk-metrics, containerPort: 9102 }
  lifecycle:
    preStop:
      {{- if .Values.nativeSidecar }}
      exec: { command: [/lockkeeper, drain, /etc/lockkeeper/policies] }
      {{- else }}
      exec: { command: [/lockkeeper, drain, --wait, 5s, /etc/lockkeeper/policies] }
      {{- end }}
  startupProbe:
    httpGet: { path: /ready, port: lk-metrics }
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: { path: /ready, port: lk-metrics }
    periodSeconds: 5
  livenessProbe:
    httpGet: { path: /live, port: lk-metrics }
    periodSeconds: 10
    failureThreshold: 3
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - { name: lockkeeper-policies, mountPath: /etc/lockkeeper/policies, readOnly: true }
{{- end }}

{{- /* The volume it needs, as an item of volumes. */ -}}
{{- define "lockkeeper.volume" -}}
- name: lockkeeper-policies
  configMap: { name: {{ .Release.Name }}-policies }
{{- end }}
