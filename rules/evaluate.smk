rule measure_scores:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        maps=lambda w: measured_row(w).files,
    output:
        f"{BASE}/metrics/{{method}}/{{name}}.csv",
    log:
        log_of("measure_scores", "{method}-{name}"),
    benchmark:
        bench_of("measure_scores", "{method}-{name}")
    wildcard_constraints:
        name=r"scores-round-\d+|fused",
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        row=row_keys,
        settings=settings("measure_scores"),
        code=code("evaluate.measure_scores"),
    message:
        "measuring {wildcards.name} of {wildcards.method}"
    shell:
        "wsss measure_scores --index {input.index:q} --maps {input.maps:q} --row {params.row:q} --settings {params.settings:q} --output {output:q} --log {log:q}"


rule measure_masks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        maps=lambda w: measured_row(w).files,
    output:
        f"{BASE}/metrics/{{method}}/{{name}}.csv",
    log:
        log_of("measure_masks", "{method}-{name}"),
    benchmark:
        bench_of("measure_masks", "{method}-{name}")
    wildcard_constraints:
        name=r"seed|pseudo-.*|prediction-.*",
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        row=row_keys,
        code=code("evaluate.measure_masks"),
    message:
        "measuring {wildcards.name} of {wildcards.method}"
    shell:
        "wsss measure_masks --index {input.index:q} --maps {input.maps:q} --row {params.row:q} --output {output:q} --log {log:q}"


rule measure_instances:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        instances=lambda w: INSTANCES.results(w.method),
        responses=lambda w: INSTANCES.responses(w.method),
    output:
        f"{BASE}/metrics/{{method}}/instances.csv",
    log:
        log_of("measure_instances", "{method}"),
    benchmark:
        bench_of("measure_instances", "{method}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(120),
    params:
        row=lambda w: json.dumps(INSTANCES.row_keys(w.method)),
        code=code("evaluate.measure_instances"),
    message:
        "measuring the instances of {wildcards.method}"
    shell:
        "wsss measure_instances --index {input.index:q} --instances {input.instances:q} --responses {input.responses:q} --row {params.row:q} --output {output:q} --log {log:q}"


rule collect_metrics:
    input:
        fragments=lambda w: [f"{BASE}/metrics/{row.method}/{row.name}.csv" for row in measured()]
        + INSTANCES.fragments(),
        records=lambda w: sorted({r.file for r in GRAPH.records(all_rounds())}),
    output:
        f"{BASE}/metrics.csv",
    log:
        log_of("collect_metrics", "metrics"),
    benchmark:
        bench_of("collect_metrics", "metrics")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        settings=plan_settings,
        code=code("evaluate.collect_metrics"),
    message:
        "every number of the run into one table"
    shell:
        "wsss collect_metrics --fragments {input.fragments:q} --settings {params.settings:q} --output {output:q} --log {log:q}"
