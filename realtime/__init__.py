"""Fan-out: connections, rooms, ordering across processes, the control bus and presence leases.

python-socketio's word `emit` appears in one place, `realtime.publisher`; everything above says `publish`.
"""
