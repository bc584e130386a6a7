# What QEMU takes for JSON, and what it refuses: quotes, escapes, blanks, numbers, keys that come twice; and which value an option gets.
truncate -s 1M r.raw
qemu-io -f raw -c 'write -P 1 0 512' -c 'write -P 2 512 512' r.raw
qemu-img create -q -f qcow2 q.qcow2 1M
truncate -s 512k q.qcow2
qemu-img create -q -f qcow2 -b r.raw -F raw o.qcow2 1M
while IFS= read -r line; do
    name=$(printf '%b.' "json:$line")
    printf '%s\n' "$line"
    qemu-io -r -c length -c 'read -v 0 16' "${name%.}" 2>/dev/null </dev/null
    echo "exit $?"
done <<'END'
{'driver':'raw','file':{'driver':'file','filename':'r.raw'}}
{ 'driver' : 'raw' ,\n\t'file' :\r {'driver':'file','filename':'r.raw' } }
{'driver':'raw','file.filename':'r.raw'}
{'driver':'raw','file.filename':'r\\'raw'}
{"driver":"raw","file.filename":"r\\'raw"}
{'driver':'raw','file.filename':'r\\"raw'}
{'driver':'raw','file.filename':'r"raw'}
{"driver":"raw","file.filename":"r'raw"}
{'driver':"raw",'file.filename':'r.raw'}
{'driver":'raw','file.filename':'r.raw'}
 {"driver":"raw","file":{"driver":"file","filename":"r.raw"}}
\n{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}\n
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}} 
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}x
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}{}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}},
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},}
{,"driver":"raw","file":{"driver":"file","filename":"r.raw"}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},,"size":512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":"512"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":"64k"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":'64k'}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"offset":1024}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"offset":"1k"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"offset":512,"size":1024}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"offset":"512","size":"1k"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1e3}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1024.0}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":-512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":0x200}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":"0x200"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":9223372036854775807}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":9223372036854775808}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":18446744073709551615}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":18446744073709551616}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1e400}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":-9223372036854775808}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":-9223372036854775809}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":0512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":00}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":+512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":.5}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":5.}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":-}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1e}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1e+}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":1E2}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":true}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":null}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":[512]}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":{}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size":[]}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":true}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":false}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":"on"}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":on}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":True}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":nul}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":null}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":'true'}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":'yes'}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":'y'}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"driver":"qcow2"}
{"driver":"qcow2","driver":"raw","file":{"driver":"file","filename":"r.raw"}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"file":{"filename":"q.qcow2"}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"file.filename":"q.qcow2"}
{"file.filename":"q.qcow2","driver":"raw","file":{"driver":"file","filename":"r.raw"}}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"read-only":true,"read-only":true}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"":1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},".":1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"a..b":1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},1:1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},null:1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},a:1}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"} "size":512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size" 512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"},"size"=512}
{"driver":"raw","file":{"driver":"file","filename":"r.raw"};"size":512}
{'driver':'raw','file.filename':'r\\u002eraw'}
{'driver':'raw','file.filename':'r\\u002Eraw'}
{'driver':'raw','file.filename':'r\\x2eraw'}
{'driver':'raw','file.filename':'r\\56raw'}
{'driver':'raw','file.filename':'.\\/r.raw'}
{'driver':'raw','file.filename':'r.r\\aw'}
{'driver':'raw','file.filename':'r.raw\\u0000'}
{'driver':'raw','file.filename':'r.raw\\u0000x'}
{'driver':'raw','file.filename':'r.raw\\ud800'}
{'driver':'raw','file.filename':'r.raw\\ud83d\\ude00'}
{'driver':'raw','file.filename':'r.raw\\ude00'}
{'driver':'raw','file.filename':'r.raw\\u00'}
{'driver':'raw','file.filename':'r.raw\\uffff'}
{'driver':'raw','file.filename':'r.raw\\ufffe'}
{'driver':'raw','file.filename':'r.\nraw'}
{'driver':'raw','file.filename':'r.\traw'}
{'driver':'raw','file.filename':'r.\\nraw'}
{'driver':'raw','file.filename':'r.\0001raw'}
{'driver':'raw','file.filename':'r.\0177raw'}
{'driver':'raw','file.filename':'r.é'}
{'driver':'raw','file.filename':%s}
{'driver':'raw','file.filename':'%s'}
{'driver':'raw','file.filename':'%p'}
{'driver':'raw','file.filename':'r%%raw'}
{'driver':'raw','file.filename':'r%raw'}
{'driver':%i}
{%s}
[1]
"x"
1
null
true

{}
  
''
[
{
}
]
{]
[}
/* x */{}
//x\n{}
#x\n{}
{'driver':'raw','file':['a']}
{'driver':'raw','file':[{'filename':'r.raw'}]}
{'driver':'raw','file':'r.raw'}
{'driver':'raw','file':null}
{'driver':'raw','file':{}}
{'driver':null,'file.filename':'r.raw'}
{'driver':'','file.filename':'r.raw'}
{'driver':'raw','file.filename':''}
{'driver':'raw','file.filename':1}
{'driver':'raw','file.filename':null}
{'driver':'raw','file.filename':true}
{'driver':'qcow2','file.filename':'o.qcow2','backing':null}
{'driver':'qcow2','file.filename':'o.qcow2','backing':''}
{'driver':'qcow2','file.filename':'o.qcow2','backing':'off'}
{'driver':'qcow2','file.filename':'o.qcow2','backing':{}}
{'driver':'qcow2','file.filename':'o.qcow2','backing':[]}
{'driver':'qcow2','file.filename':'o.qcow2','backing':{'driver':'raw','file':{'filename':'r.raw'},'offset':512}}
{'driver':'qcow2','file.filename':'o.qcow2','backing.offset':'512'}
{'driver':'qcow2','file.filename':'o.qcow2','backing.offset':512}
{'driver':'qcow2','file.filename':'o.qcow2','backing.driver':'qcow2'}
{'driver':'qcow2','file.filename':'o.qcow2','backing.file.filename':'q.qcow2'}
{'driver':'qcow2','file.filename':'q.qcow2','lazy-refcounts':true}
{'driver':'qcow2','file.filename':'q.qcow2','lazy-refcounts':'on'}
{'driver':'qcow2','file.filename':'q.qcow2','lazy-refcounts':'true'}
{'driver':'qcow2','file.filename':'q.qcow2','lazy-refcounts':1}
{'driver':'qcow2','file.filename':'q.qcow2','l2-cache-size':65536}
{'driver':'qcow2','file.filename':'q.qcow2','l2-cache-size':65536.0}
{'driver':'qcow2','file.filename':'q.qcow2','l2-cache-size':'64k'}
{'driver':'qcow2','file.filename':'q.qcow2','l2-cache-size':1e5}
{'driver':'null-co','size':1e6}
{'driver':'null-co','size':1048576.0}
{'driver':'null-co','read-zeroes':true}
{'driver':'null-co','latency-ns':1.0}
{'driver':'null-co','latency-ns':'1'}
{'driver':'raw','file.filename':'r.raw\0377'}
{'driver':'raw','file.filename':'r.raw\0300\0200'}
\0357\0273\0277{'driver':'raw','file.filename':'r.raw'}
{'driver':'raw',\0302\0240'file.filename':'r.raw'}
{'driver':'raw',\0013'file.filename':'r.raw'}
{'driver':'raw',\0014'file.filename':'r.raw'}
END
# The same as a backing name.
while IFS= read -r line; do
    name=$(printf '%b.' "json:$line")
    qemu-img create -q -u -f qcow2 -b "${name%.}" -F raw top.qcow2 1M 2>/dev/null </dev/null
    qemu-io -r -c 'read -v 0 16' top.qcow2 2>/dev/null </dev/null
    echo "exit $?"
done <<'END'
{'driver':'raw','file.filename':'r.raw'}
{'driver':'raw','file':{'driver':'file','filename':'r.raw'},'offset':512}
{ "driver" : 'raw',\n\t'file' : {'filename':'r.raw'}, 'offset':'512', 'size':512 }
{'driver':'raw','file.filename':'r.\'raw'}
{'driver':'raw','file.filename':'r.raw',}
{'driver':'qcow2','file.filename':'q.qcow2'}
{'file.filename':'q.qcow2'}
END
rm top.qcow2
