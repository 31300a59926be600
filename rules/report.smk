rule write_report:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        metrics=f"{BASE}/metrics.csv",
        maps=lambda w: sorted({f for row in measured() for f in row.files} | set(GRAPH.all_saliency()))
        + INSTANCES.products()
        + INSTANCES.all_results(),
    output:
        report(f"{BASE}/report/index.html", category="Report", caption="../docs/report-caption.rst"),
    log:
        log_of("write_report", "report"),
    benchmark:
        bench_of("write_report", "report")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        settings=plan_settings,
        code=code("report.write_report"),
    message:
        "the report: images and numbers of every stage"
    shell:
        "wsss write_report --index {input.index:q} --metrics {input.metrics:q} --settings {params.settings:q} --output {output:q} --log {log:q}"
